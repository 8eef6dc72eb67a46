collm_test(demo_test demo_test.cpp demo_speech_test.cpp LINK demo nlohmann_json::nlohmann_json)
