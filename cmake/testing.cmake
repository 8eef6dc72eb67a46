# collm_test(NAME FILE... LINK target...): one GoogleTest binary; every case becomes a ctest test,
# labelled with its kind. Files are named from tests/ or from the folder of the list they stand in.
# What kind `unit` needs is target unit_tests.
include(GoogleTest)
add_custom_target(unit_tests)
function(collm_test name)
  cmake_parse_arguments(T "" "" "LINK" ${ARGN})
  set(sources)
  foreach(file ${T_UNPARSED_ARGUMENTS})
    if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      list(APPEND sources ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    elseif(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${COLLM_TEST_KIND}/${file})
      list(APPEND sources ${CMAKE_CURRENT_SOURCE_DIR}/${COLLM_TEST_KIND}/${file})
    else()
      message(FATAL_ERROR "collm_test(${name}): there is no file ${file}")
    endif()
  endforeach()
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE ${T_LINK} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    COLLM_SOURCE_DIR="${CMAKE_SOURCE_DIR}" COLLM_BINARY_DIR="${CMAKE_BINARY_DIR}")
  # The real model on a busy machine takes minutes; what only unit tests must hurry.
  set(timeout 120)
  if(COLLM_TEST_KIND STREQUAL unit)
    add_dependencies(unit_tests ${name})
  endif()
  if(COLLM_TEST_KIND STREQUAL golden)
    set(timeout 1800)
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${timeout} LABELS "${COLLM_TEST_KIND}")
endfunction()

# A fuzz target and its driver: fuzz/NAME.cpp and fuzz/NAME_driver.cpp. With clang, -fsanitize=fuzzer takes the place of
# the driver and of fuzz_main.cpp and finds inputs; here its corpus (fuzz/corpus/NAME) and a fixed seed are run, or the
# files given. Target and parsers (fuzz/parsers.cmake) have ASan and UBSan in every build.
# Templates that another library asks for can bring in the plain object of a parser beside the sanitized one, which stands
# before it: the first definition counts.
set(COLLM_SANITIZED ${COLLM_SANITIZERS} -O1)
function(collm_fuzz name)
  cmake_parse_arguments(T "" "" "LINK" ${ARGN})
  add_executable(${name} fuzz/${name}.cpp fuzz/${name}_driver.cpp fuzz/fuzz_main.cpp)
  target_link_libraries(${name} PRIVATE ${T_LINK})
  target_compile_definitions(${name} PRIVATE COLLM_SOURCE_DIR="${CMAKE_SOURCE_DIR}" COLLM_FUZZ_TARGET="${name}")
  target_compile_options(${name} PRIVATE ${COLLM_SANITIZED})
  target_link_options(${name} PRIVATE -fsanitize=address,undefined -Wl,--allow-multiple-definition)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 400)
endfunction()
