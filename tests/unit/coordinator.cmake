collm_test(coordinator_test
  unit/coordinator_latency_model_test.cpp unit/coordinator_step_planner_test.cpp unit/coordinator_admission_test.cpp
  unit/coordinator_following_test.cpp unit/coordinator_unit_times_test.cpp unit/coordinator_training_share_test.cpp
  unit/coordinator_iteration_test.cpp unit/coordinator_gate_test.cpp unit/coordinator_gate_course_test.cpp
  unit/coordinator_round_policy_test.cpp unit/coordinator_canary_test.cpp unit/coordinator_fairness_test.cpp
  unit/coordinator_prefill_test.cpp
  LINK coordinator)
