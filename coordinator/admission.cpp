#include "coordinator/admission.hpp"

#include <algorithm>
#include <cmath>

namespace collm::coordinator {

double hash01(std::uint64_t id) {
  id += 0x9e3779b97f4a7c15ull;  // splitmix64
  id = (id ^ (id >> 30)) * 0xbf58476d1ce4e5b9ull;
  id = (id ^ (id >> 27)) * 0x94d049bb133111ebull;
  id ^= id >> 31;
  return static_cast<double>(id >> 11) * 0x1.0p-53;
}

double predicted_ttft_ms(const replica_load& load, std::uint32_t prompt_tokens) {
  if (load.prefill_tokens_per_ms <= 0) return load.iteration_ms;
  return (load.backlog_tokens + prompt_tokens) / load.prefill_tokens_per_ms + load.iteration_ms;
}

std::uint32_t retry_after_ms(const replica_load& load, double predicted_ms, double ttft_slo_ms,
                             double jitter) {
  const double rate = load.prefill_tokens_per_ms * 1000;  // tokens/s with nothing else to do
  double seconds = 60;
  if (rate > 1.05 * load.admitted_tokens_per_s) {
    seconds = rate * std::max(0.0, predicted_ms - ttft_slo_ms) / 1000 /
              (rate - load.admitted_tokens_per_s);
  }
  return static_cast<std::uint32_t>(
      std::clamp(std::ceil(seconds * (1 + 0.25 * jitter)), 1.0, 60.0) * 1000);
}

admission_decision admit(const replica_load& load, std::uint32_t prompt_tokens, double ttft_slo_ms,
                         std::uint32_t queued_max, double jitter) {
  admission_decision d;
  d.predicted_ttft_ms = predicted_ttft_ms(load, prompt_tokens);
  const double tokens_max = 2 * load.prefill_tokens_per_ms * ttft_slo_ms;
  const bool known = load.prefill_tokens_per_ms > 0;
  // A prompt too long to be on time even alone is not refused for its own length, only behind
  // others.
  const double alone_ms = predicted_ttft_ms(
      {.prefill_tokens_per_ms = load.prefill_tokens_per_ms, .iteration_ms = load.iteration_ms},
      prompt_tokens);
  const double behind_ms = d.predicted_ttft_ms - alone_ms;
  const double patience_ms = alone_ms > ttft_slo_ms ? ttft_slo_ms / 2 : 0;
  const bool late = known && d.predicted_ttft_ms > ttft_slo_ms && behind_ms > patience_ms;
  const bool full = load.queued >= queued_max || (known && load.backlog_tokens > tokens_max);
  d.admit = !late && !full;
  if (!d.admit) d.retry_after_ms = retry_after_ms(load, d.predicted_ttft_ms, ttft_slo_ms, jitter);
  return d;
}

}  // namespace collm::coordinator
