collm_fuzz(http_body_fuzz LINK http_sanitized gateway nlohmann_json::nlohmann_json)
collm_fuzz(http_connection_fuzz LINK http_sanitized gateway nlohmann_json::nlohmann_json OpenSSL::SSL OpenSSL::Crypto GTest::gtest GTest::gmock)
