if(TARGET collm)
  foreach(suite Serving Faults Threads)
    add_test(NAME cluster_${suite}
      COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/cluster_test.py ${suite} $<TARGET_FILE:collm>)
    set_tests_properties(cluster_${suite} PROPERTIES TIMEOUT 300 RUN_SERIAL TRUE ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
  endforeach()
  add_test(NAME cluster_Learning
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/learning_test.py Learning $<TARGET_FILE:collm>)
  set_tests_properties(cluster_Learning PROPERTIES TIMEOUT 400 RUN_SERIAL TRUE ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endif()
