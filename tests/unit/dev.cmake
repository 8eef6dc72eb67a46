# Tests of the tree itself: who includes whom, and style.
foreach(name include_matrix tidy dev_script)
  add_test(NAME ${name} COMMAND Python3::Interpreter ${CMAKE_CURRENT_LIST_DIR}/${name}_test.py)
  set_tests_properties(${name} PROPERTIES TIMEOUT 60 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endforeach()
