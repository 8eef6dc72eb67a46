collm_fuzz(site_rows_fuzz LINK site_rows_sanitized store)
