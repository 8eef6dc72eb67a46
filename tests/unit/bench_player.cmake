collm_test(bench_player_test unit/bench_player_test.cpp unit/bench_report_test.cpp
  LINK bench nlohmann_json::nlohmann_json)
foreach(name bench_faults bench_peers bench_soak natural_clients)
  add_test(NAME ${name} COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/${name}_test.py)
  set_tests_properties(${name} PROPERTIES
    TIMEOUT 120 LABELS unit ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endforeach()
