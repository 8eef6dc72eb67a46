collm_test(actors_simulation_test simulation/serving_test.cpp simulation/supervisor_test.cpp simulation/capacity_test.cpp
  simulation/versions_test.cpp LINK actors)
