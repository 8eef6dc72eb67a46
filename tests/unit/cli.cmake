if(TARGET cli)
  collm_test(cli_test unit/cli_program_test.cpp unit/cli_view_test.cpp unit/cli_http_client_test.cpp unit/cli_memory_reserve_test.cpp
    unit/cli_training_view_test.cpp unit/cli_learning_demo_test.cpp LINK cli gateway)
endif()
