collm_test(http_conformance_test conformance/http_access_test.cpp conformance/http_attacks_test.cpp
  conformance/http_completions_test.cpp conformance/http_operations_test.cpp
  conformance/http_protocol_test.cpp conformance/http_tls_test.cpp conformance/http_training_test.cpp
  LINK gateway bench nlohmann_json::nlohmann_json OpenSSL::SSL OpenSSL::Crypto)
# Its operator new fails when it is told to, so it is a program of its own.
collm_test(http_memory_test conformance/http_memory_test.cpp
  LINK gateway nlohmann_json::nlohmann_json OpenSSL::SSL OpenSSL::Crypto)
# The gateway over the tiny deterministic model of tests/support: what tests/interop/openai_client.py can be tried against.
add_executable(fake_gateway support/fake_gateway.cpp)
target_link_libraries(fake_gateway PRIVATE gateway nlohmann_json::nlohmann_json)
