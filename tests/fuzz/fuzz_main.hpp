// Runs a fuzz target without libFuzzer: on the files named on the command line, or else on what its
// driver makes from seed 0, or from COLLM_FUZZ_SEED; with COLLM_FUZZ_SECONDS=N from that and the
// seeds after it, until that time has passed.
#pragma once

#include <cstdint>
#include <string>

namespace collm::fuzz {

/// Each driver's own: gives its inputs, which follow from the seed, to `run`.
void drive(void (&run)(const std::string& bytes), std::uint32_t seed);

}  // namespace collm::fuzz
