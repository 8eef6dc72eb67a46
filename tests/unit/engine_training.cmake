# The engine's training half: kernels, units, shadow.
collm_test(engine_training_kernels_test unit/engine_training_kernels_test.cpp LINK engine)
collm_test(engine_training_test unit/engine_training_test.cpp LINK engine)
