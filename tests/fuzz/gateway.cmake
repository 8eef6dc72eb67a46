# With clang, -fsanitize=fuzzer in place of http_body_fuzz_main.cpp finds inputs; here a fixed seed and any files given are run.
add_executable(http_body_fuzz fuzz/http_body_fuzz.cpp fuzz/http_body_fuzz_main.cpp)
target_link_libraries(http_body_fuzz PRIVATE gateway nlohmann_json::nlohmann_json)
add_test(NAME http_body_fuzz COMMAND http_body_fuzz)
set_tests_properties(http_body_fuzz PROPERTIES TIMEOUT 120)
