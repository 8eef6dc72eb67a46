collm_fuzz(gguf_fuzz LINK gguf_sanitized engine_api)
