collm_fuzz(gguf_fuzz LINK engine_api)
