if(TARGET collm)
  add_test(NAME cli_verbs COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/cli_verbs_test.py $<TARGET_FILE:collm>)
  set_tests_properties(cli_verbs PROPERTIES TIMEOUT 300 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endif()
