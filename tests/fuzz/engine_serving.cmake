collm_fuzz(safetensors_fuzz LINK engine)
