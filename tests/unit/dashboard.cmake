# The page: what is embedded, the golden snapshot that C++ and TypeScript share, and the page's own unit tests.
collm_test(dashboard_test unit/dashboard_assets_test.cpp unit/dashboard_snapshot_test.cpp
  ../gateway/schema_json.cpp LINK dashboard messages text nlohmann_json::nlohmann_json)

# The mirror of the build tree gets tests/ beside dashboard/, so that imports read alike in both.
file(GLOB page_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/dashboard_*_test.ts
  ${CMAKE_CURRENT_LIST_DIR}/dashboard_*_test.tsx)
set(page_test_inputs ${page_tests} ${CMAKE_SOURCE_DIR}/dashboard/tests.config.ts
  ${CMAKE_SOURCE_DIR}/tests/browser/data/status.json)
set(page_test_folder ${COLLM_WEB_DIR}/tests/unit)
add_custom_command(OUTPUT ${COLLM_WEB_DIR}/tests.stamp
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${COLLM_WEB_DIR}/tests
  COMMAND ${CMAKE_COMMAND} -E make_directory ${page_test_folder} ${COLLM_WEB_DIR}/tests/browser/data
  COMMAND ${CMAKE_COMMAND} -E copy ${page_tests} ${page_test_folder}
  COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_SOURCE_DIR}/dashboard/tests.config.ts ${COLLM_WEB_DIR}/dashboard
  COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_SOURCE_DIR}/tests/browser/data/status.json
    ${COLLM_WEB_DIR}/tests/browser/data
  COMMAND ${CMAKE_COMMAND} -E chdir ${COLLM_WEB_DIR}/dashboard ${COLLM_NODE}
    ../node_modules/typescript/bin/tsc -p tsconfig.json
  COMMAND ${CMAKE_COMMAND} -E chdir ${COLLM_WEB_DIR}/dashboard ${COLLM_NODE}
    ../node_modules/vite/bin/vite.js build --config tests.config.ts --logLevel warn
  COMMAND ${CMAKE_COMMAND} -E touch ${COLLM_WEB_DIR}/tests.stamp
  DEPENDS dashboard_page ${COLLM_WEB_DIR}/dashboard/dist/app.js ${page_test_inputs}
  COMMENT "dashboard: the page's unit tests" VERBATIM)
add_custom_target(dashboard_page_tests ALL DEPENDS ${COLLM_WEB_DIR}/tests.stamp)
add_dependencies(unit_tests dashboard_page_tests)
list(TRANSFORM page_tests REPLACE "^.*/(.*)[.]tsx?$" "${COLLM_WEB_DIR}/dashboard/tests/\\1.mjs"
  OUTPUT_VARIABLE page_test_scripts)
add_test(NAME dashboard_page COMMAND ${COLLM_NODE} --test ${page_test_scripts})
set_tests_properties(dashboard_page PROPERTIES TIMEOUT 60)
