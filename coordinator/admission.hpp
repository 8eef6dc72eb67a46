// Whether to take a request in, and when to come back if not. Pure.
#pragma once

#include <cstdint>

namespace collm::coordinator {

/// Load of one replica at the moment of asking. Unknown rates (0) admit: nothing was measured yet.
struct replica_load {
  std::uint32_t queued = 0;          ///< requests waiting
  std::uint32_t backlog_tokens = 0;  ///< prompt tokens admitted and not computed
  double prefill_tokens_per_ms = 0;  ///< measured
  double iteration_ms = 0;           ///< one step
  double admitted_tokens_per_s = 0;  ///< EWMA of admitted prompt tokens
};

struct admission_decision {
  bool admit = true;
  double predicted_ttft_ms = 0;
  std::uint32_t retry_after_ms = 0;  ///< if not admitted
};

/// Predicted time to first token of a prompt of `prompt_tokens` behind the backlog, ms.
double predicted_ttft_ms(const replica_load& load, std::uint32_t prompt_tokens);

/// Retry-After from the drain rate, ms, within (0, 60 s]. `jitter` in [0, 1) spreads the returns.
std::uint32_t retry_after_ms(const replica_load& load, double predicted_ms, double ttft_slo_ms,
                             double jitter);

/// Admits while the queue has room, the queued tokens stay within what is prefilled in twice the
/// promise, and the prediction keeps the promise.
admission_decision admit(const replica_load& load, std::uint32_t prompt_tokens, double ttft_slo_ms,
                         std::uint32_t queued_max, double jitter);

/// Uniform in [0, 1) from a request's identity: the same everywhere, every time.
double hash01(std::uint64_t id);

}  // namespace collm::coordinator
