collm_test(store_test
  unit/store_version_store_test.cpp unit/store_blob_store_test.cpp unit/store_round_journal_test.cpp
  unit/store_site_data_test.cpp unit/store_job_store_test.cpp unit/store_backup_test.cpp
  unit/store_served_versions_test.cpp
  LINK store)
