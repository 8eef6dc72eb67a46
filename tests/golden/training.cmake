# Training against peft. Data: training_oracle.py.
collm_test(training_golden_test golden/training_test.cpp LINK engine nlohmann_json::nlohmann_json)
