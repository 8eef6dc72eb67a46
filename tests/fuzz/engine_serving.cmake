# With clang, -fsanitize=fuzzer in place of safetensors_fuzz_main.cpp finds inputs; here a fixed seed and any files given are run.
add_executable(safetensors_fuzz fuzz/safetensors_fuzz.cpp fuzz/safetensors_fuzz_main.cpp)
target_link_libraries(safetensors_fuzz PRIVATE engine)
add_test(NAME safetensors_fuzz COMMAND safetensors_fuzz)
set_tests_properties(safetensors_fuzz PROPERTIES TIMEOUT 120)
