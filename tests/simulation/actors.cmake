collm_test(actors_simulation_test simulation/serving_test.cpp simulation/supervisor_test.cpp simulation/supervisor_drain_test.cpp simulation/capacity_test.cpp
  simulation/fairness_test.cpp
  simulation/versions_test.cpp simulation/promotions_test.cpp simulation/training_test.cpp LINK actors)
collm_test(training_bytes_test simulation/training_bytes_test.cpp LINK actors engine)
collm_test(prefix_timing_test simulation/prefix_timing_test.cpp LINK actors engine gateway)
collm_test(cluster_simulation_test simulation/cluster_test.cpp simulation/cluster/cluster.cpp
  simulation/cluster/gateway.cpp simulation/cluster/head.cpp simulation/cluster/laws.cpp
  simulation/cluster/learning.cpp simulation/cluster/link.cpp simulation/cluster/node.cpp simulation/cluster/plan.cpp
  simulation/cluster/world.cpp LINK actors)
