collm_test(bench_player_test unit/bench_player_test.cpp unit/bench_report_test.cpp
  LINK bench nlohmann_json::nlohmann_json)
add_test(NAME bench_peers
  COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/bench_peers_test.py)
set_tests_properties(bench_peers PROPERTIES
  TIMEOUT 120 LABELS unit ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
