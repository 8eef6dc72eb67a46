collm_test(coordinator_test
  unit/coordinator_latency_model_test.cpp unit/coordinator_step_planner_test.cpp unit/coordinator_admission_test.cpp
  unit/coordinator_following_test.cpp
  LINK coordinator)
