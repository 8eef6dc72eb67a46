// A small machine's step times and a load's random numbers, for simulations of load on virtual
// time.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>

#include "coordinator/admission.hpp"
#include "coordinator/latency_model.hpp"

namespace collm::testing_support {

/// Seeded numbers that no standard library changes.
class numbers {
 public:
  explicit numbers(std::uint64_t seed) : state_(seed) {}
  double uniform() { return coordinator::hash01(state_++); }
  double exponential(double mean) { return -mean * std::log(1 - uniform()); }
  std::uint32_t between(std::uint32_t low, std::uint32_t high) {
    return low + static_cast<std::uint32_t>(uniform() * (high - low + 1));
  }

 private:
  std::uint64_t state_;
};

using step_time = std::function<std::chrono::microseconds(const coordinator::step_features&)>;

/// Steps of these costs, with noise, and now and then a neighbour on the same machine.
inline step_time machine(const coordinator::step_costs& costs, double noise, std::uint64_t seed) {
  return [costs, noise, draw = numbers(seed)](const coordinator::step_features& f) mutable {
    const double spread = 1 - noise + 2 * noise * draw.uniform();
    const double neighbour = draw.uniform() < 0.01 ? 2 : 1;
    return std::chrono::microseconds(std::llround(costs.mean_ms(f) * spread * neighbour * 1000));
  };
}

/// Two cores with a 135M model, as measured.
inline step_time small_machine(std::uint64_t seed) {
  return machine({.theta = {6, 1.7, 2e-4, 3.6, 1.5e-3}}, 0.1, seed);
}

/// One of them, without AVX-512 and with clients beside it: a prompt token is as dear as a decode.
inline step_time slow_machine(std::uint64_t seed) {
  return machine({.theta = {12, 6, 1e-3, 6, 1.5e-3}}, 0.3, seed);
}

inline double ms(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

/// Ranges of prompt and answer lengths, tokens.
struct mix {
  const char* name;
  std::uint32_t prompt_min, prompt_max, answer_min, answer_max;
};
inline constexpr mix mixed{"mixed", 20, 400, 8, 120}, reading{"reading", 100, 600, 4, 40},
    writing{"writing", 10, 60, 50, 300}, alike{"alike", 150, 190, 48, 48},
    brief{"brief", 52, 55, 48, 48};

}  // namespace collm::testing_support
