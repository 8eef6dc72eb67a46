# With clang, -fsanitize=fuzzer in place of text_fuzz_main.cpp finds inputs; here a fixed seed and any files given are run.
add_executable(text_fuzz fuzz/text_fuzz.cpp fuzz/text_fuzz_main.cpp)
target_link_libraries(text_fuzz PRIVATE text)
add_test(NAME text_fuzz COMMAND text_fuzz)
set_tests_properties(text_fuzz PROPERTIES TIMEOUT 120)
