collm_fuzz(workload_fuzz LINK workload_sanitized bench)
