collm_fuzz(manifest_fuzz LINK manifest_sanitized plan)
