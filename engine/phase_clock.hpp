// Where the time of a step goes: one thread's time, cut into phases. Off it is a null pointer and
// costs a branch; on, a few nanoseconds a mark. Owner: the thread that steps the executor; within
// forward() the team's last member, which prepares a lone row too.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

namespace collm::engine {

enum class phase : std::uint8_t {
  plan,   ///< checks, prefix hits, blocks, rows in order
  start,  ///< until the team runs
  embed,
  norm,  ///< RMSNorm before and after products
  quantise,
  lora_down,
  qkv,
  rotary,  ///< biases and head norms too
  keep,    ///< keys and values into their pages
  attention,
  o,
  gate_up,
  activation,  ///< SwiGLU or GeGLU
  down,
  lora_up,
  residual,
  head,     ///< the product to logits
  waiting,  ///< for the rest of the team
  sampling,
  bookkeeping  ///< blocks published, text of tokens, emissions
};
inline constexpr std::size_t phases_count = static_cast<std::size_t>(phase::bookkeeping) + 1;
inline constexpr std::array<const char*, phases_count> phase_names = {
    "plan",    "start",    "embed",     "norm",    "quantise", "lora down",  "qkv",
    "rotary",  "keep",     "attention", "o",       "gate-up",  "activation", "down",
    "lora up", "residual", "head",      "waiting", "sampling", "bookkeeping"};

class phase_clock {
 public:
  using clock = std::chrono::steady_clock;

  /// What follows belongs to the phase of the next mark.
  void begin() { last_ = clock::now(); }
  /// What has passed since the last mark, or since begin(), was `p`.
  void mark(phase p) {
    const auto now = clock::now();
    passed_[static_cast<std::size_t>(p)] += now - last_;
    last_ = now;
  }
  void reset() { passed_ = {}; }
  double seconds(phase p) const {
    return std::chrono::duration<double>(passed_[static_cast<std::size_t>(p)]).count();
  }

 private:
  std::array<clock::duration, phases_count> passed_{};
  clock::time_point last_{};
};

}  // namespace collm::engine
