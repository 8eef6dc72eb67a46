collm_test(link_test unit/link_fixture.cpp unit/link_certificates_test.cpp unit/link_enrolment_test.cpp
  unit/link_generate_test.cpp unit/link_hostile_test.cpp unit/link_join_test.cpp unit/link_members_test.cpp unit/link_parts_test.cpp unit/link_training_test.cpp LINK link)
collm_test(link_native_test unit/link_fixture.cpp unit/link_native_test.cpp LINK link text)
