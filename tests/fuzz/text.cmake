collm_fuzz(text_fuzz LINK text_sanitized text)
collm_fuzz(tokenizer_json_fuzz LINK text_sanitized text nlohmann_json::nlohmann_json)
