# The built page in Debian's Chromium; without it the test fails and says what to do.
add_test(NAME dashboard_browser
  COMMAND ${COLLM_NODE} --test ${CMAKE_CURRENT_LIST_DIR}/dashboard_test.mjs)
set_tests_properties(dashboard_browser PROPERTIES TIMEOUT 180
  ENVIRONMENT "COLLM_PAGE=${COLLM_WEB_DIR}/dashboard/dist;COLLM_PICTURES=${CMAKE_BINARY_DIR}/browser")
