collm_test(messages_carrier_test unit/messages_carrier_test.cpp LINK messages caf_core)
collm_test(messages_json_text_test unit/messages_json_text_test.cpp
  LINK messages_terms nlohmann_json::nlohmann_json)
collm_test(messages_shown_text_test unit/messages_shown_text_test.cpp LINK messages_terms)
collm_test(messages_fuzz_test unit/messages_fuzz_test.cpp fuzz/message_fuzz.cpp
  LINK messages CapnProto::capnp-rpc)
