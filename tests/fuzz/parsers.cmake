# The parsers of outside bytes once more, with ASan and UBSan: every build's fuzz targets run these and not the
# libraries' own, so what ./dev test and the nightly run find is found under sanitizers.
# sanitized_parsers(NAME FILE... LINK target...): the library NAME_sanitized, linked before the folder's own.
function(sanitized_parsers name)
  cmake_parse_arguments(T "" "" "LINK" ${ARGN})
  list(TRANSFORM T_UNPARSED_ARGUMENTS PREPEND ${CMAKE_SOURCE_DIR}/ OUTPUT_VARIABLE sources)
  add_library(${name}_sanitized STATIC EXCLUDE_FROM_ALL ${sources})
  target_compile_options(${name}_sanitized PRIVATE ${COLLM_SANITIZED})
  target_link_libraries(${name}_sanitized PRIVATE ${T_LINK})
endfunction()
file(GLOB text_sources RELATIVE ${CMAKE_SOURCE_DIR} CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/text/*.cpp)
sanitized_parsers(text ${text_sources} LINK messages_terms nlohmann_json::nlohmann_json)
sanitized_parsers(messages messages/msg.cpp messages/well_typed.cpp LINK messages)
sanitized_parsers(gguf engine/model/gguf.cpp engine/model/gguf_dequantise.cpp engine/model/gguf_parse.cpp
  LINK messages_terms)
sanitized_parsers(adapter engine/adapter/adapter.cpp engine/adapter/peft.cpp engine/adapter/peft_config.cpp
  engine/adapter/safetensors.cpp LINK messages_terms nlohmann_json::nlohmann_json OpenSSL::Crypto)
sanitized_parsers(manifest deploy/manifest.cpp deploy/manifest_check.cpp deploy/manifest_read.cpp
  deploy/manifest_section.cpp deploy/manifest_strategy.cpp deploy/manifest_values.cpp
  LINK messages_terms coordinator PkgConfig::YAMLCPP)
sanitized_parsers(workload bench/workload.cpp demo/jsonl.cpp LINK messages_terms nlohmann_json::nlohmann_json)
file(GLOB gateway_sources RELATIVE ${CMAKE_SOURCE_DIR} CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/gateway/*.cpp)
sanitized_parsers(http ${gateway_sources} LINK messages text Threads::Threads
  nlohmann_json::nlohmann_json OpenSSL::SSL OpenSSL::Crypto spdlog::spdlog)
sanitized_parsers(link link/authority.cpp link/certificates.cpp link/enrolment.cpp link/join_tokens.cpp
  link/node_book.cpp link/x509.cpp LINK messages CapnProto::capnp-rpc OpenSSL::SSL OpenSSL::Crypto)
sanitized_parsers(link_session link/connection.cpp link/courier.cpp link/head_connection.cpp link/head_session.cpp
  link/link_server.cpp link/loop.cpp link/native_request.cpp link/native_server.cpp link/outcome.cpp link/proxies.cpp
  link/remote_requests.cpp link/stream_buffer.cpp link/token_pump.cpp link/training_rules.cpp
  LINK messages caf_core CapnProto::capnp-rpc CapnProto::kj-async OpenSSL::SSL OpenSSL::Crypto)
sanitized_parsers(site_rows store/database_file.cpp store/digest.cpp store/disk.cpp store/site_data.cpp
  store/site_line.cpp LINK messages_terms SQLite::SQLite3 OpenSSL::Crypto nlohmann_json::nlohmann_json)
