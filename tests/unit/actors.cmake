collm_test(actors_test unit/actors_shadow_parts_test.cpp unit/actors_round_book_test.cpp unit/actors_metrics_test.cpp LINK actors)
