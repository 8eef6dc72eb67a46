collm_test(link_test unit/link_fixture.cpp unit/link_certificates_test.cpp unit/link_generate_test.cpp
  unit/link_join_test.cpp LINK link)
