collm_test(learning_simulation_test simulation/learning_test.cpp simulation/learning_faults_test.cpp
  simulation/learning_jobs_test.cpp simulation/learning_damage_test.cpp simulation/rollback_test.cpp
  simulation/static_split_test.cpp LINK actors)
collm_test(learning_crash_test simulation/learning_crash_test.cpp LINK actors)
collm_test(shadow_simulation_test simulation/shadow_test.cpp LINK actors)
collm_test(canary_simulation_test simulation/canary_test.cpp LINK actors)
