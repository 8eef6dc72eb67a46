// Random numbers as a function of (seed, index): Philox4x32-10 (Salmon et al., SC'11), so that
// token i of a sequence draws the same number after a preemption, in any batch, on any machine.
// Pure functions; any thread.
#pragma once

#include <array>
#include <cstdint>

namespace collm::engine {

/// Who draws; two purposes never share numbers.
enum class random_stream : std::uint32_t { sample = 1, initial_weights = 2 };

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key);

/// Uniform in [0, 1), 53 bits.
double uniform(std::uint64_t seed, random_stream stream, std::uint64_t index);

}  // namespace collm::engine
