# The engine's serving half: what is sampled, cached, adapted and driven.
collm_test(engine_sample_test unit/engine_sample_test.cpp LINK engine)
collm_test(engine_cache_test unit/engine_cache_test.cpp LINK engine)
