# The engine's serving half: what is sampled, cached, adapted and driven.
collm_test(engine_sample_test unit/engine_sample_test.cpp LINK engine)
collm_test(engine_cache_test unit/engine_cache_test.cpp LINK engine)
collm_test(engine_adapter_test unit/engine_adapter_test.cpp unit/engine_safetensors_test.cpp
  LINK engine nlohmann_json::nlohmann_json)
collm_test(engine_executor_test unit/engine_executor_test.cpp LINK engine)
collm_test(engine_step_allocations_test unit/engine_step_allocations_test.cpp LINK engine)
