#include "coordinator/step_planner.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace collm::coordinator {

namespace {

// While prompts wait, nothing of them fits a step and the oldest has no time left to wait, every
// ninth step still computes one tile of it, so that none starves.
constexpr std::uint32_t starvation_guard_steps = 9;
// A prompt may be predicted to end this late in its promise: as admission, which took it in,
// allows.
constexpr double guard_share = 0.9;

std::uint32_t blocks_for(const planned_sequence& s, std::uint32_t tokens,
                         std::uint32_t block_tokens) {
  const std::uint32_t total = (s.computed + tokens + block_tokens - 1) / block_tokens;
  return total > s.blocks ? total - s.blocks : 0;
}

step_features decode_features(std::span<const planned_sequence> sequences) {
  step_features f;
  for (const auto& s : sequences) {
    if (!s.decoding()) continue;
    f.decodes += 1;
    f.decode_context += s.length;
  }
  return f;
}

/// Who is on time before who is late, interactive before batch until half of its promise has
/// passed, tenants in turn; within one the oldest: with one promise for all that is the order of
/// deadlines.
bool goes_first(const planned_sequence& a, const planned_sequence& b, double ttft_ms,
                double now_ms) {
  const auto late = [&](const planned_sequence& s) { return s.arrival_ms + ttft_ms < now_ms; };
  const auto gives_way = [&](const planned_sequence& s) {
    return s.batch && now_ms < s.arrival_ms + ttft_ms / 2;
  };
  return std::tuple(late(a), gives_way(a), a.turn, a.arrival_ms) <
         std::tuple(late(b), gives_way(b), b.turn, b.arrival_ms);
}

}  // namespace

bool step_planner::lost(const planned_sequence& s, double now_ms, double decode_ms) const {
  if (s.first_token_ms < 0) return now_ms - s.arrival_ms > slo_.ttft_ms;
  if (s.first_token_ms - s.arrival_ms > slo_.ttft_ms) return true;
  if (s.max_tokens < 2) return false;
  const double emitted = s.produced - 1.0;  // tokens after the first
  const double all = s.max_tokens - 1.0;
  return (now_ms - s.first_token_ms) + (all - emitted) * decode_ms > all * slo_.tpot_ms;
}

double step_planner::slack_ms(std::span<const planned_sequence> sequences,
                              const latency_model& model, double now_ms) const {
  const double decode_ms = model.mean_ms(decode_features(sequences));
  double slack = std::numeric_limits<double>::infinity();
  for (const auto& s : sequences) {
    if (s.first_token_ms < 0 || lost(s, now_ms, decode_ms)) continue;
    slack = std::min(slack, s.first_token_ms + s.produced * slo_.tpot_ms - now_ms);
  }
  return slack;
}

double step_planner::budget_ms(std::span<const planned_sequence> sequences,
                               const latency_model& model, double now_ms) const {
  const double most = slo_.step_most_ms();
  return std::clamp(slack_ms(sequences, model, now_ms), std::min(0.5 * slo_.tpot_ms, most), most);
}

step_plan step_planner::plan(std::span<const planned_sequence> sequences,
                             const latency_model& model, planner_limits limits, double now_ms) {
  step_plan plan;
  plan.budget_ms = budget_ms(sequences, model, now_ms);
  pack_decodes(sequences, limits, plan);
  plan.overload = plan.features.decodes > 0 && model.bound_ms(plan.features) > plan.budget_ms;
  pack_prefill(sequences, model, limits, now_ms, plan);
  plan.bound_ms = plan.work.empty() ? 0 : model.bound_ms(plan.features);
  return plan;
}

void step_planner::pack_decodes(std::span<const planned_sequence> sequences, planner_limits& limits,
                                step_plan& plan) const {
  std::vector<const planned_sequence*> decodes;
  for (const auto& s : sequences) {
    if (s.decoding()) decodes.push_back(&s);
  }
  // Oldest first: when blocks run out, the youngest holders give theirs up and are computed again
  // later.
  std::stable_sort(decodes.begin(), decodes.end(),
                   [](auto* a, auto* b) { return a->arrival_ms < b->arrival_ms; });
  std::vector<const planned_sequence*> holders;
  for (const auto& s : sequences) {
    if (s.started()) holders.push_back(&s);
  }
  std::stable_sort(holders.begin(), holders.end(),
                   [](auto* a, auto* b) { return a->arrival_ms < b->arrival_ms; });
  const auto gone = [&](const planned_sequence* s) {
    return std::find(plan.preempt.begin(), plan.preempt.end(), s->id) != plan.preempt.end();
  };
  for (const auto* s : decodes) {
    if (gone(s) || plan.work.size() >= limits.step_tokens_max) continue;
    const auto need = blocks_for(*s, 1, limits.block_tokens);
    while (limits.blocks_free < need && !holders.empty() && holders.back() != s) {
      const auto* victim = holders.back();
      holders.pop_back();
      const bool packed = std::any_of(plan.work.begin(), plan.work.end(),
                                      [&](const auto& item) { return item.id == victim->id; });
      if (packed) continue;
      plan.preempt.push_back(victim->id);
      limits.blocks_free +=
          victim->blocks;  // shared blocks may not come back; the next step then preempts again
    }
    if (limits.blocks_free < need) {
      plan.preempt.push_back(s->id);
      limits.blocks_free += s->blocks;
      continue;
    }
    limits.blocks_free -= need;
    plan.work.push_back({s->id, 1});
    plan.features.decodes += 1;
    plan.features.decode_context += s->length;
  }
}

/// A tile costs the running answers their promise, so one is due only when at the guard's pace
/// some prompt, behind those before it, would not end well within its own.
bool step_planner::needs_the_guard(std::span<const planned_sequence* const> waiting,
                                   const latency_model& model, std::uint32_t tile, double now_ms,
                                   const step_features& decodes) const {
  step_features with = decodes;
  with.prefill_tokens += tile;
  const double pace_ms =
      (starvation_guard_steps - 1) * model.mean_ms(decodes) + model.mean_ms(with);
  double tiles = 0;
  for (const auto* s : waiting) {
    if (s != waiting.front() && lost(*s, now_ms, 0)) break;  // it may come after those on time
    tiles += std::ceil(static_cast<double>(s->left()) / tile);
    if (now_ms + tiles * pace_ms >= s->arrival_ms + guard_share * slo_.ttft_ms) return true;
  }
  return false;
}

void step_planner::pack_prefill(std::span<const planned_sequence> sequences,
                                const latency_model& model, planner_limits& limits, double now_ms,
                                step_plan& plan) {
  std::vector<const planned_sequence*> waiting;
  for (const auto& s : sequences) {
    const bool preempted =
        std::find(plan.preempt.begin(), plan.preempt.end(), s.id) != plan.preempt.end();
    if (!s.decoding() && s.left() > 0 && !preempted) waiting.push_back(&s);
  }
  if (waiting.empty()) {
    held_back_ = 0;
    return;
  }
  std::stable_sort(waiting.begin(), waiting.end(),
                   [&](auto* a, auto* b) { return goes_first(*a, *b, slo_.ttft_ms, now_ms); });
  const bool pressed = needs_the_guard(waiting, model, limits.tile, now_ms, plan.features);
  const bool guard = ++held_back_ >= starvation_guard_steps && pressed;
  if (plan.overload && !guard) return;

  // Each decode may need one more block before the newcomers end: keep that many.
  const auto reserve = static_cast<std::uint32_t>(plan.features.decodes);
  for (const auto* s : waiting) {
    const auto rows =
        static_cast<std::uint32_t>(plan.features.decodes + plan.features.prefill_tokens);
    if (rows >= limits.step_tokens_max) break;
    const double packed = model.bound_ms(plan.features);
    std::uint32_t chunk =
        guard ? limits.tile : model.prefill_root(packed, plan.budget_ms, s->computed);
    // The first chunk of a step that holds nothing else always makes progress, however slow the
    // machine is.
    if (plan.work.empty()) chunk = std::max(chunk, limits.tile);
    chunk = std::min({chunk, s->left(), limits.step_tokens_max - rows});
    if (chunk < s->left()) chunk -= chunk % limits.tile;
    if (chunk == 0) break;
    const auto keep = plan.work.empty() ? 0 : reserve;
    auto need = blocks_for(*s, chunk, limits.block_tokens);
    if (need + keep > limits.blocks_free) {
      if (!plan.work.empty() || limits.blocks_free == 0) break;
      chunk = std::min(chunk, (limits.blocks_free + s->blocks) * limits.block_tokens - s->computed);
      need = blocks_for(*s, chunk, limits.block_tokens);
    }
    if (chunk == 0) break;
    step_features with = plan.features;
    if (!s->started() &&
        with.decodes > 0) {  // would its own decodes still keep everybody's promise?
      step_features later = decode_features(sequences);
      later.decodes += 1;
      later.decode_context += s->length;
      if (model.bound_ms(later) > slo_.tpot_ms && !guard) break;
    }
    limits.blocks_free -= need;
    held_back_ = 0;
    plan.work.push_back({s->id, chunk});
    plan.features.prefill_tokens += chunk;
    plan.features.prefill_pairs += static_cast<double>(chunk) * s->computed + 0.5 * chunk * chunk;
    if (guard) break;
  }
}

}  // namespace collm::coordinator
