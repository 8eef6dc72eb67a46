collm_fuzz(http_body_fuzz LINK gateway nlohmann_json::nlohmann_json)
