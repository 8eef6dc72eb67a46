# The forward pass against transformers and peft. Data: llama_golden.py.
collm_test(llama_test golden/llama_test.cpp LINK engine nlohmann_json::nlohmann_json)
