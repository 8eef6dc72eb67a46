collm_test(store_test unit/store_version_store_test.cpp LINK store)
