add_test(NAME relay_test COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/relay_test.py)
set_tests_properties(relay_test PROPERTIES TIMEOUT 60 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
if(TARGET collm)
  foreach(suite Serving Faults Threads)
    add_test(NAME cluster_${suite}
      COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/cluster_test.py ${suite} $<TARGET_FILE:collm>)
    set_tests_properties(cluster_${suite} PROPERTIES TIMEOUT 300 RUN_SERIAL TRUE ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
  endforeach()
  add_library(tls_tap SHARED ${CMAKE_CURRENT_LIST_DIR}/../support/tls_tap.cpp)
  target_link_libraries(tls_tap PRIVATE OpenSSL::SSL ${CMAKE_DL_LIBS})
  add_test(NAME cluster_Learning
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/learning_test.py Learning $<TARGET_FILE:collm>
      $<TARGET_FILE:tls_tap>)
  add_test(NAME cluster_LearningVerbs
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/learning_verbs_test.py Verbs $<TARGET_FILE:collm>)
  add_test(NAME cluster_HeadCrash
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/head_crash_test.py HeadCrash $<TARGET_FILE:collm>)
  add_test(NAME cluster_Backup
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/backup_test.py Backup $<TARGET_FILE:collm>)
  add_test(NAME cluster_Ports
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/ports_test.py Ports $<TARGET_FILE:collm>)
  add_test(NAME cluster_RollingRestart
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/rolling_restart_test.py RollingRestart $<TARGET_FILE:collm>)
  foreach(suite Canary StaticSplit)
    add_test(NAME cluster_${suite}
      COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/canary_test.py ${suite} $<TARGET_FILE:collm>)
  endforeach()
  add_test(NAME cluster_Join
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/join_test.py Join $<TARGET_FILE:collm>)
  add_test(NAME cluster_Thief
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/thief_test.py Thief $<TARGET_FILE:collm>)
  foreach(suite Rejoin Straggler)
    add_test(NAME cluster_${suite}
      COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/rejoin_test.py ${suite} $<TARGET_FILE:collm>)
  endforeach()
  set_tests_properties(cluster_Join cluster_Rejoin cluster_Straggler cluster_Thief PROPERTIES TIMEOUT 120 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
  set_tests_properties(cluster_Learning cluster_LearningVerbs cluster_HeadCrash cluster_Ports cluster_Backup cluster_Canary
    cluster_StaticSplit cluster_RollingRestart
    PROPERTIES TIMEOUT 400 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
  # The verbs' cluster has a tiny model and promises nothing about time.
  set_tests_properties(cluster_Learning cluster_HeadCrash cluster_Canary PROPERTIES RUN_SERIAL TRUE)
endif()
