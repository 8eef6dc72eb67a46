// Runs a fuzz target without libFuzzer: on the files named on the command line, or else on what its
// driver makes from a fixed seed.
#pragma once

#include <string>

namespace collm::fuzz {

/// Each driver's own: gives its inputs to `run`.
void drive(void (&run)(const std::string& bytes));

}  // namespace collm::fuzz
