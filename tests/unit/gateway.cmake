collm_test(gateway_values_test unit/gateway_access_test.cpp unit/gateway_answer_writer_test.cpp
  unit/gateway_completion_request_test.cpp unit/gateway_http_message_test.cpp unit/gateway_multipart_test.cpp
  unit/gateway_prompt_test.cpp unit/gateway_quota_test.cpp
  LINK gateway nlohmann_json::nlohmann_json)
