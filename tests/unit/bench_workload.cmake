collm_test(bench_workload_test bench_workload_test.cpp bench_maker_test.cpp LINK bench demo nlohmann_json::nlohmann_json)
