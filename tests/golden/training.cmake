# Training against peft (data: training_oracle.py), and on the real model.
collm_test(training_golden_test golden/training_test.cpp LINK engine nlohmann_json::nlohmann_json)
collm_test(training_smollm2_test golden/training_real_test.cpp LINK engine demo)
