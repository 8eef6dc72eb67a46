collm_fuzz(text_fuzz LINK text)
collm_fuzz(tokenizer_json_fuzz LINK text nlohmann_json::nlohmann_json)
