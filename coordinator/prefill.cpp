#include "coordinator/prefill.hpp"

#include <algorithm>

namespace collm::coordinator {

namespace {

// The prompt whose cost stands for those that are not known.
constexpr double short_prompt = 64;

}  // namespace

void prompt_backlog::add_choices(double left, double computed, double choices) {
  const double again = std::min<double>((choices - 1) * left, planner_limits{}.step_tokens_max);
  const double times = left > 0 ? 1 + again / left : 1;
  tokens += times * left;
  pairs += times * (left * computed + left * left / 2);
  prompts += choices;
}

void prompt_backlog::add(const prompt_backlog& more) {
  tokens += more.tokens;
  pairs += more.pairs;
  prompts += more.prompts;
}

double sustained_prefill_per_ms(const step_costs& costs, const step_features& decodes,
                                const step_features& prompts, double step_ms) {
  const double decode_ms = costs.bound_ms(decodes);
  const auto like = prompts.prefill_tokens > 0 ? prompts : prompt_features(short_prompt);
  const double each_ms = (costs.bound_ms(like) - costs.bound_ms({})) / like.prefill_tokens;
  if (each_ms <= 0) return 0;
  const double starvation_guard = 1.0 / 9 * 16 / std::max(1.0, decode_ms);  // step_planner's
  return std::max(starvation_guard, std::max(0.0, 1 - decode_ms / step_ms) / each_ms);
}

double prefill_pace::ahead_ms(double slack_ms) const {
  return std::max(0.0, slack_ms - token_ms) * lasts;
}

double prefill_pace::tokens_in(double ms, double slack_ms) const {
  const double first_ms = std::min(ms, ahead_ms(slack_ms));
  return first_ms * ahead + (ms - first_ms) * beside;
}

prefill_pace prefill_pace::times(double share) const {
  auto part = *this;
  part.ahead *= share;
  part.beside *= share;
  return part;
}

prefill_pace pace_of(const step_costs& costs, const step_features& decodes,
                     const step_features& prompts, slo promises) {
  const double most_ms = promises.step_most_ms(), token_ms = promises.tpot_ms;
  const double beside = sustained_prefill_per_ms(costs, decodes, prompts, token_ms);
  if (most_ms <= token_ms) return {.ahead = beside, .beside = beside, .token_ms = token_ms};
  return {.ahead = sustained_prefill_per_ms(costs, decodes, prompts, most_ms),
          .beside = beside,
          .token_ms = token_ms,
          .lasts = most_ms / (most_ms - token_ms)};
}

prompt_backlog prefill_state::backlog() const {
  prompt_backlog all;
  for (const auto& [tenant, backlog] : backlog_of) all.add(backlog);
  return all;
}

prefill_state prefill_state::after(double ms) const {
  auto later = *this;
  later.slack_ms -= std::min(ms, pace.ahead_ms(slack_ms)) / pace.lasts;
  const double tokens = backlog().tokens;
  if (tokens <= 0) return later;
  const double left = std::max(0.0, 1 - pace.tokens_in(ms, slack_ms) / tokens);
  for (auto& [tenant, backlog] : later.backlog_of) {
    backlog.tokens *= left;
    backlog.pairs *= left;
  }
  return later;
}

}  // namespace collm::coordinator
