collm_test(deploy_test unit/deploy_manifest_test.cpp LINK plan)
