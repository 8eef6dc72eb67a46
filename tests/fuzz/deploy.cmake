collm_fuzz(manifest_fuzz LINK plan)
