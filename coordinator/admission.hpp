// Whether to take a request in, and when to come back if not. Pure.
#pragma once

#include <cstdint>

#include "coordinator/latency_model.hpp"
#include "coordinator/prefill.hpp"
#include "coordinator/step_planner.hpp"

namespace collm::coordinator {

/// Load of one replica at the moment of asking, as it would be with the request that asks. Unknown
/// rates (0) admit: nothing was measured yet.
struct replica_load {
  std::uint32_t queued = 0;  ///< requests waiting
  prompt_backlog ahead{};    ///< admitted, not computed, and computed before the one that asks
  double prefill_tokens_per_ms = 0;  ///< measured, with nothing else to do
  double iteration_ms = 0;           ///< one step
  double admitted_tokens_per_s = 0;  ///< EWMA of admitted prompt tokens
  std::uint32_t sequences = 0;       ///< admitted and not ended, without the one that asks
  step_costs costs{};                ///< the engine's model; all 0: not known
  step_features decodes{};           ///< all of them and the one that asks, decoding together
  double kv_tokens = 0, kv_tokens_max = 0;  ///< cache that all will hold, of; 0: not known
  double finished_per_s = 0;                ///< EWMA of sequences that ended
  double slack_ms = 0;                      ///< step_planner's: infinite where nobody would be late
  double claimed = 0;                       ///< share of the time for prompts that is others'
  bool goes_first = false;                  ///< before the prompts of others, who had more
  double fills = 1;  ///< share of the TPOT promise up to which who asks may fill steps
};

enum class refusal : std::uint8_t { none, late, crowded, memory, queue };

struct admission_decision {
  bool admit = true;
  refusal why = refusal::none;
  double behind_ms = 0;  ///< of the prediction: until the prompt's turn
  double predicted_ttft_ms = 0;
  double predicted_tpot_ms = 0;      ///< when all decode together
  double tpot_most_ms = 0;           ///< what that may be at most
  std::uint32_t retry_after_ms = 0;  ///< if not admitted
};

/// Predicted time to first token of a prompt of `prompt_tokens` behind the backlog, ms, at
/// `tokens_per_ms`.
double predicted_ttft_ms(const replica_load& load, double tokens_per_ms,
                         std::uint32_t prompt_tokens);

/// Retry-After from the drain rates of prompts and of sequences, ms, within (0, 60 s]. `jitter` in
/// [0, 1) spreads the returns.
std::uint32_t retry_after_ms(const replica_load& load, double predicted_ms, double ttft_slo_ms,
                             double jitter);

/// Admits while the queue and the cache have room, all that was admitted keeps its TPOT when it
/// decodes together, the queued tokens stay within what is prefilled in twice the TTFT promise, and
/// the prediction keeps that promise.
admission_decision admit(const replica_load& load, std::uint32_t prompt_tokens, slo promises,
                         std::uint32_t queued_max, double jitter);

/// Uniform in [0, 1) from a request's identity: the same everywhere, every time.
double hash01(std::uint64_t id);

}  // namespace collm::coordinator
