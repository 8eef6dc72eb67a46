# The forward pass against transformers and peft. Data: models_oracle.py.
collm_test(models_test golden/models_test.cpp LINK engine nlohmann_json::nlohmann_json)
