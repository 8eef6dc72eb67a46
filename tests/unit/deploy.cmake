collm_test(deploy_test
  unit/deploy_manifest_test.cpp unit/deploy_plan_test.cpp unit/deploy_ledger_test.cpp unit/deploy_schema_test.cpp
  unit/deploy_doctor_test.cpp unit/deploy_machine_groups_test.cpp
  LINK plan nlohmann_json::nlohmann_json)
if(TARGET deploy)
  collm_test(deploy_actor_port_test unit/deploy_actor_port_test.cpp unit/deploy_training_port_test.cpp
    LINK deploy)
  collm_test(deploy_state_test unit/deploy_state_test.cpp LINK deploy)
  collm_test(deploy_training_test unit/deploy_training_test.cpp LINK deploy)
  collm_test(deploy_unit_probe_test unit/deploy_unit_probe_test.cpp LINK deploy)
  collm_test(deploy_capacity_search_test unit/deploy_capacity_search_test.cpp LINK deploy)
  collm_test(deploy_audit_log_test unit/deploy_audit_log_test.cpp LINK deploy)
  collm_test(deploy_children_test unit/deploy_children_test.cpp unit/deploy_held_ports_test.cpp LINK deploy)
  collm_test(deploy_remote_node_test unit/deploy_remote_node_test.cpp LINK deploy)
  collm_test(deploy_backup_test unit/deploy_backup_test.cpp LINK deploy)
  collm_test(deploy_log_test unit/deploy_log_test.cpp LINK deploy spdlog::spdlog)
endif()
