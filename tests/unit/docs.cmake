add_test(NAME docs COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/docs_test.py)
set_tests_properties(docs PROPERTIES TIMEOUT 60 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
