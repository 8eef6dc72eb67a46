# Suites of one file, each a test of its own.
function(cluster_suites file)
  foreach(suite ${ARGN})
    add_test(NAME cluster_${suite}
      COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/${file} ${suite} $<TARGET_FILE:collm>)
  endforeach()
endfunction()
add_test(NAME relay_test COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/relay_test.py)
set_tests_properties(relay_test PROPERTIES TIMEOUT 60 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
if(TARGET collm)
  cluster_suites(cluster_test.py Serving Faults Threads)
  set_tests_properties(cluster_Serving cluster_Faults cluster_Threads
    PROPERTIES TIMEOUT 900 RUN_SERIAL TRUE ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
  # Libraries that a test preloads.
  foreach(library tls_tap poison kill_at_write)
    add_library(${library} SHARED ${CMAKE_CURRENT_LIST_DIR}/../support/${library}.cpp)
    target_link_libraries(${library} PRIVATE OpenSSL::SSL OpenSSL::Crypto ${CMAKE_DL_LIBS})
  endforeach()
  add_test(NAME cluster_Learning
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/learning_test.py Learning $<TARGET_FILE:collm>
      $<TARGET_FILE:tls_tap>)
  add_test(NAME cluster_LearningVerbs
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/learning_verbs_test.py Verbs $<TARGET_FILE:collm>)
  cluster_suites(head_crash_test.py HeadCrash)
  cluster_suites(backup_test.py Backup)
  cluster_suites(ports_test.py Ports)
  cluster_suites(rolling_restart_test.py RollingRestart)
  cluster_suites(canary_test.py Canary StaticSplit)
  cluster_suites(drain_test.py Drain)
  cluster_suites(stop_test.py Stop SlowStop)
  foreach(suite Crash Wedge)
    add_test(NAME cluster_${suite}
      COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/poison_test.py ${suite} $<TARGET_FILE:collm>
        $<TARGET_FILE:poison>)
  endforeach()
  add_test(NAME cluster_Killed
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/killed_test.py Killed $<TARGET_FILE:collm>
      $<TARGET_FILE:kill_at_write>)
  cluster_suites(bad_machine_test.py Memory MemoryGroups Clock Disk)
  cluster_suites(packet_loss_test.py PacketLoss)
  cluster_suites(join_test.py Join)
  cluster_suites(thief_test.py Thief)
  cluster_suites(rejoin_test.py Rejoin SlowUplink Straggler)
  set_tests_properties(cluster_Join cluster_Rejoin cluster_SlowUplink cluster_Straggler cluster_Thief cluster_Drain cluster_Crash cluster_Wedge cluster_Killed
    cluster_PacketLoss cluster_Memory cluster_MemoryGroups cluster_Clock cluster_Disk
    PROPERTIES TIMEOUT 240 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
  set_tests_properties(cluster_LearningVerbs cluster_Ports cluster_Backup cluster_Canary cluster_StaticSplit
    cluster_RollingRestart cluster_Stop cluster_SlowStop
    PROPERTIES TIMEOUT 400 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
  # The real model is trained.
  set_tests_properties(cluster_Learning cluster_HeadCrash
    PROPERTIES TIMEOUT 900 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
  # The verbs' cluster has a tiny model and promises nothing about time.
  set_tests_properties(cluster_Learning cluster_HeadCrash cluster_Canary PROPERTIES RUN_SERIAL TRUE)
endif()
