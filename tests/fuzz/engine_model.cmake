# With clang, -fsanitize=fuzzer in place of gguf_fuzz_main.cpp finds inputs; here a fixed seed and any files given are run.
add_executable(gguf_fuzz fuzz/gguf_fuzz.cpp fuzz/gguf_fuzz_main.cpp)
target_link_libraries(gguf_fuzz PRIVATE engine_api)
add_test(NAME gguf_fuzz COMMAND gguf_fuzz)
set_tests_properties(gguf_fuzz PROPERTIES TIMEOUT 120)
