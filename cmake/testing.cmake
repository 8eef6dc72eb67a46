# collm_test(NAME FILE... LINK target...): one GoogleTest binary; every case becomes a ctest test, labelled with its kind.
include(GoogleTest)
function(collm_test name)
  cmake_parse_arguments(T "" "" "LINK" ${ARGN})
  add_executable(${name} ${T_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${T_LINK} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE COLLM_SOURCE_DIR="${CMAKE_SOURCE_DIR}" COLLM_BINARY_DIR="${CMAKE_BINARY_DIR}")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT 120 LABELS "${COLLM_TEST_KIND}")
endfunction()
