collm_test(tokenizer_golden_test golden/tokenizer_test.cpp LINK engine_api text nlohmann_json::nlohmann_json)
collm_test(gemma_golden_test golden/gemma_test.cpp LINK engine_api text)
