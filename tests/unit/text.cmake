collm_test(text_encoding_test unit/text_utf8_test.cpp unit/text_splitter_test.cpp unit/text_nfc_test.cpp
  LINK text PkgConfig::PCRE2 nlohmann_json::nlohmann_json)
collm_test(text_tokenizer_test unit/text_merges_test.cpp unit/text_tokenizer_test.cpp LINK text)
collm_test(text_chat_template_test unit/text_chat_template_test.cpp
  LINK text nlohmann_json::nlohmann_json)
collm_test(text_stream_test unit/text_stream_test.cpp LINK text)
collm_test(text_tokenizer_json_test unit/text_tokenizer_json_test.cpp LINK text nlohmann_json::nlohmann_json)
