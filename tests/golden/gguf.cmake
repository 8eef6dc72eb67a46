# GGUF's block formats against the gguf package. Data: gguf_blocks_oracle.py.
collm_test(gguf_blocks_test golden/gguf_blocks_test.cpp LINK engine_api nlohmann_json::nlohmann_json)
# Adapters as GGUF. Data: gguf_lora_oracle.py.
collm_test(gguf_lora_test golden/gguf_lora_test.cpp LINK engine)
