collm_test(learning_simulation_test simulation/learning_test.cpp LINK actors)
