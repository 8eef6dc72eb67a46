#include "coordinator/admission.hpp"

#include <algorithm>
#include <cmath>

namespace collm::coordinator {

namespace {

// Decodes of all that was admitted may take so much of the TPOT promise: the rest is for prefill
// and for steps that take longer than predicted.
constexpr double decode_share_max = 0.85;
// Where one sequence alone takes more than this of that, the planner lets them follow each other:
// the second one waits for its turn within its TTFT promise and is not refused for its company.
constexpr double company_share_max = 0.7;
// A first token may be predicted this late in its promise: the rest covers those who overtake. Whom
// nobody overtakes may be predicted later, as steps are predicted by their upper bound.
constexpr double ttft_share_max = 0.9, ttft_share_first = 1.1;

// Prompt tokens taken in before any was measured: seconds of work on a slow machine.
constexpr double unmeasured_tokens_max = 4096;

/// Beside what others claim.
prefill_pace pace_left(const replica_load& load, const step_features& prompts, slo promises) {
  return pace_of(load.costs, load.decodes, prompts, promises).times(1 - load.claimed);
}

/// Prompts one after the other. A sequence that begins is ahead of its promise by one token only:
/// behind the first prompt, what its last step has room for is computed at the pace ahead.
class prompt_course {
 public:
  prompt_course(double ahead_ms, double step_ms) : ahead_ms_(ahead_ms), step_ms_(step_ms) {}

  void compute(double tokens, const prefill_pace& p) {
    const double first_ms = std::min(ahead_ms_, tokens / p.ahead);
    ms_ += first_ms + std::max(0.0, tokens - first_ms * p.ahead) / p.beside;
    of_step_ms_ = std::fmod(of_step_ms_ + first_ms, step_ms_);
    ahead_ms_ = of_step_ms_ > 0 ? std::min(ahead_ms_ - first_ms, step_ms_ - of_step_ms_) : 0;
  }
  double ms() const { return ms_; }

 private:
  double ahead_ms_, step_ms_;
  double of_step_ms_ = 0, ms_ = 0;
};

void predict(admission_decision& d, const replica_load& load, const prefill_pace& own,
             std::uint32_t prompt_tokens, slo promises) {
  prompt_course course(own.ahead_ms(load.slack_ms), promises.step_most_ms());
  const double tokens = load.ahead.tokens;
  const auto pace = tokens > 0 ? pace_left(load, load.ahead.work(), promises) : own;
  const double prompts = std::max(tokens > 0 ? 1.0 : 0.0, std::ceil(load.ahead.prompts));
  for (double i = 0; i < prompts; ++i) course.compute(tokens / prompts, pace);
  d.behind_ms = course.ms();
  course.compute(prompt_tokens, own);
  d.predicted_ttft_ms = course.ms() + load.iteration_ms;
}

refusal refusal_of(const replica_load& load, const admission_decision& d, double rate,
                   std::uint32_t prompt_tokens, slo promises, std::uint32_t queued_max) {
  if (load.queued >= queued_max) return refusal::queue;
  const bool others = load.sequences > 0;
  if (others && load.kv_tokens_max > 0 && load.kv_tokens > load.kv_tokens_max)
    return refusal::memory;
  const double promised = decode_share_max * promises.tpot_ms;
  const bool company = load.costs.bound_ms({.decodes = 1}) <= company_share_max * promised;
  if (others && company && d.predicted_tpot_ms > d.tpot_most_ms) return refusal::crowded;
  if (rate <= 0) return load.ahead.tokens > unmeasured_tokens_max ? refusal::queue : refusal::none;
  if (d.behind_ms > 2 * promises.ttft_ms) return refusal::queue;
  const double share = load.goes_first ? ttft_share_first : ttft_share_max;
  if (d.predicted_ttft_ms <= share * promises.ttft_ms) return refusal::none;
  // An idle replica cannot do better later.
  if (!others && load.queued == 0 && load.ahead.tokens < 1) return refusal::none;
  // A prompt too long to be on time even on an idle machine is not refused for its own length, only
  // behind others.
  const double idle_rate = load.prefill_tokens_per_ms > 0 ? load.prefill_tokens_per_ms : rate;
  const double idle_ms =
      predicted_ttft_ms({.iteration_ms = load.iteration_ms}, idle_rate, prompt_tokens);
  const bool too_long = idle_ms > ttft_share_max * promises.ttft_ms;
  return too_long && d.behind_ms <= promises.ttft_ms / 2 ? refusal::none : refusal::late;
}

}  // namespace

double hash01(std::uint64_t id) {
  id += 0x9e3779b97f4a7c15ull;  // splitmix64
  id = (id ^ (id >> 30)) * 0xbf58476d1ce4e5b9ull;
  id = (id ^ (id >> 27)) * 0x94d049bb133111ebull;
  id ^= id >> 31;
  return static_cast<double>(id >> 11) * 0x1.0p-53;
}

double predicted_ttft_ms(const replica_load& load, double tokens_per_ms,
                         std::uint32_t prompt_tokens) {
  if (tokens_per_ms <= 0) return load.iteration_ms;
  return (load.ahead.tokens + prompt_tokens) / tokens_per_ms + load.iteration_ms;
}

std::uint32_t retry_after_ms(const replica_load& load, double predicted_ms, double ttft_slo_ms,
                             double jitter) {
  const double rate = load.prefill_tokens_per_ms * 1000;  // tokens/s with nothing else to do
  double seconds = rate > 0 ? 60 : 2;                     // nothing measured yet: soon it will be
  if (rate > 1.05 * load.admitted_tokens_per_s) {
    seconds = rate * std::max(0.0, predicted_ms - ttft_slo_ms) / 1000 /
              (rate - load.admitted_tokens_per_s);
  }
  if (load.finished_per_s > 0) seconds = std::max(seconds, 1 / load.finished_per_s);
  return static_cast<std::uint32_t>(
      std::clamp(std::ceil(seconds * (1 + 0.25 * jitter)), 1.0, 60.0) * 1000);
}

admission_decision admit(const replica_load& load, std::uint32_t prompt_tokens, slo promises,
                         std::uint32_t queued_max, double jitter) {
  admission_decision d;
  double rate = (1 - load.claimed) * load.prefill_tokens_per_ms;
  if (load.costs.theta[1] > 0) {
    const auto own = pace_left(load, prompt_features(prompt_tokens), promises);
    rate = own.beside;
    predict(d, load, own, prompt_tokens, promises);
    d.predicted_tpot_ms = load.costs.bound_ms(load.decodes);
  } else {
    d.predicted_ttft_ms = predicted_ttft_ms(load, rate, prompt_tokens);
    if (rate > 0) d.behind_ms = load.ahead.tokens / rate;
  }
  d.tpot_most_ms = load.fills * decode_share_max * promises.tpot_ms;
  d.why = refusal_of(load, d, rate, prompt_tokens, promises, queued_max);
  d.admit = d.why == refusal::none;
  if (!d.admit)
    d.retry_after_ms = retry_after_ms(load, d.predicted_ttft_ms, promises.ttft_ms, jitter);
  return d;
}

}  // namespace collm::coordinator
