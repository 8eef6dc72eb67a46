collm_test(learning_simulation_test simulation/learning_test.cpp LINK actors)
collm_test(shadow_simulation_test simulation/shadow_test.cpp LINK actors)
