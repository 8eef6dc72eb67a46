# What the engine promises byte for byte, on tiny random models of every architecture and on SmolLM2.
collm_test(bit_law_test golden/bit_law_test.cpp LINK engine)
