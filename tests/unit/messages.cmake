collm_test(messages_carrier_test unit/messages_carrier_test.cpp LINK messages caf_core)
collm_test(messages_fuzz_test unit/messages_fuzz_test.cpp fuzz/message_fuzz.cpp
  LINK messages CapnProto::capnp-rpc)
