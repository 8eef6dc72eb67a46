collm_test(bench_player_test unit/bench_player_test.cpp unit/bench_report_test.cpp
  LINK bench nlohmann_json::nlohmann_json)
