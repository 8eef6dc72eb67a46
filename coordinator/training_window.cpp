#include "coordinator/training_window.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

namespace collm::coordinator {

namespace {

constexpr double need_share = 0.9;  // the rest is for what the prediction misses

struct rest_of_prompt {
  double deadline_ms = 0;
  double computed = 0, left = 0;  ///< after this iteration's step
};

std::uint32_t packed_tokens(const step_plan& plan, std::uint64_t id) {
  for (const auto& item : plan.work)
    if (item.id == id) return item.tokens;
  return 0;
}

std::vector<rest_of_prompt> waiting_prompts(std::span<const planned_sequence> sequences,
                                            const step_plan& plan, slo promises) {
  std::vector<rest_of_prompt> waiting;
  for (const auto& s : sequences) {
    if (s.first_token_ms >= 0 || s.left() == 0) continue;
    const double packed = packed_tokens(plan, s.id);
    const double left = s.left() - packed;
    if (left > 0) waiting.push_back({s.arrival_ms + promises.ttft_ms, s.computed + packed, left});
  }
  std::stable_sort(waiting.begin(), waiting.end(),
                   [](auto& a, auto& b) { return a.deadline_ms < b.deadline_ms; });
  return waiting;
}

step_features all_decodes(std::span<const planned_sequence> sequences) {
  step_features f;
  for (const auto& s : sequences) {
    if (!s.decoding()) continue;
    f.decodes += 1;
    f.decode_context += s.length;
  }
  return f;
}

/// Decodes of the next step, if this one ends a prompt whose answer goes on.
std::optional<step_features> decodes_after_a_prompt(std::span<const planned_sequence> sequences,
                                                    const step_plan& plan) {
  step_features next = all_decodes(sequences);
  bool any = false;
  for (const auto& s : sequences) {
    if (s.decoding() || s.left() == 0 || s.produced + 1 >= s.max_tokens) continue;
    if (packed_tokens(plan, s.id) < s.left()) continue;
    any = true;
    next.decodes += 1;
    next.decode_context += s.length + 1.0;
  }
  return any ? std::optional(next) : std::nullopt;
}

}  // namespace

double smallest_need_ms(std::span<const planned_sequence> sequences, const step_plan& plan,
                        const latency_model& model, slo promises, double now_ms) {
  const auto decodes = all_decodes(sequences);
  const double decode_ms = model.bound_ms(decodes);
  double least = std::numeric_limits<double>::infinity();
  double left = 0, pairs = 0, steps = 0;
  for (const auto& w : waiting_prompts(sequences, plan, promises)) {
    left += w.left;
    pairs += w.left * w.computed + w.left * w.left / 2;
    // The step's budget holds for the next ones too: a better guess would need their decodes.
    const double chunk = std::max(
        1.0, static_cast<double>(model.prefill_root(decode_ms, plan.budget_ms, w.computed)));
    steps += std::ceil(w.left / chunk);
    auto with = decodes;
    with.prefill_tokens = left;
    with.prefill_pairs = pairs;
    const double prefill_ms = model.bound_ms(with) - decode_ms;
    const double need = w.deadline_ms - now_ms - (steps * decode_ms + prefill_ms);
    if (need >= 0) least = std::min(least, need);
  }
  return least;
}

double training_window_ms(std::span<const planned_sequence> sequences, const step_plan& plan,
                          const latency_model& model, slo promises, const iteration_moment& m) {
  if (sequences.empty()) return std::numeric_limits<double>::infinity();
  if (plan.overload) return 0;
  // A lost request sets no budget, and may be predicted lost and not be: it still gets its tokens.
  const bool decodes = plan.features.decodes > 0;
  const double gap_ms = decodes ? promises.tpot_ms : std::numeric_limits<double>::infinity();
  double window = std::min(gap_ms, m.budget_share * plan.budget_ms);
  // The budget was set before the step: it knows nothing of an answer that began with it.
  if (const auto next = decodes_after_a_prompt(sequences, plan))
    window = std::min(window, m.step_ms + std::max(0.0, promises.tpot_ms - model.bound_ms(*next)));
  return std::min(window,
                  need_share * smallest_need_ms(sequences, plan, model, promises, m.begun_ms));
}

unit_verdict judge_unit(const unit_moment& m) {
  if (m.arrived) return unit_verdict::yield;
  if (m.elapsed_ms + m.unit_bound_ms > m.window_ms) return unit_verdict::no_time;
  return m.credit ? unit_verdict::run : unit_verdict::no_credit;
}

}  // namespace collm::coordinator
