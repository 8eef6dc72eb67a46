# The engine's numeric half: kernels, model files, the packed base.
collm_test(engine_kernels_test unit/engine_kernels_test.cpp LINK engine)
collm_test(engine_team_test unit/engine_team_test.cpp LINK engine)
collm_test(engine_model_gguf_test unit/engine_model_gguf_test.cpp LINK engine_api)
collm_test(engine_model_base_test unit/engine_model_base_test.cpp LINK engine)
collm_test(engine_model_hugging_face_test unit/engine_model_hugging_face_test.cpp LINK engine nlohmann_json::nlohmann_json)
