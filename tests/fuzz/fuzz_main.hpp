// Runs a fuzz target without libFuzzer: on the files named on the command line, or else on its
// corpus and on what its driver makes from seed 0, or from COLLM_FUZZ_SEED; with
// COLLM_FUZZ_SECONDS=N from that and the seeds after it, until it has had the processor for that
// long. What ends the process, or takes it too long, is told with the input.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace collm::fuzz {

/// Files of tests/fuzz/corpus/<target>, by name; every run begins with them. None: there are none.
const std::vector<std::string>& corpus();

/// Each driver's own: gives its inputs, which follow from the seed, to `run`.
void drive(void (&run)(const std::string& bytes), std::uint32_t seed);

}  // namespace collm::fuzz
