// Prompts that wait to be computed, and how fast they are beside what decodes. Pure.
#pragma once

#include <map>
#include <string>

#include "coordinator/latency_model.hpp"
#include "coordinator/step_planner.hpp"

namespace collm::coordinator {

/// What of prompts is still to be computed, and how many sequences begin with them.
struct prompt_backlog {
  double tokens = 0, pairs = 0, prompts = 0;

  /// A prompt with `left` tokens behind `computed` ones, of so many choices. They take its blocks
  /// from the prefix cache once a step has computed them: what is computed more than once fits in
  /// that step.
  void add_choices(double left, double computed = 0, double choices = 1);
  void add(const prompt_backlog& more);
  step_features work() const { return {.prefill_tokens = tokens, .prefill_pairs = pairs}; }
};

/// Prompt tokens per ms that steps of `step_ms` sustain beside `decodes`: the share of the time
/// that those leave free, at what a token of prompts like `prompts` costs; none: of a short one.
/// 0: the costs are not known.
double sustained_prefill_per_ms(const step_costs& costs, const step_features& decodes,
                                const step_features& prompts, double step_ms);

/// Prompt tokens per ms: in steps as long as a step may be, while the decodes in them are ahead of
/// their promises; then in steps that keep those.
struct prefill_pace {
  double ahead = 0, beside = 0;
  /// Slack at which steps keep the promises of their decodes and no more: a token's.
  double token_ms = 0;
  /// Each ms of slack beyond lasts so long: a long step uses its time up and earns a token's.
  double lasts = 1;

  /// Time at the pace ahead, of decodes that are ahead by `slack_ms`.
  double ahead_ms(double slack_ms) const;
  /// Computed within `ms`.
  double tokens_in(double ms, double slack_ms) const;
  prefill_pace times(double share) const;
};
prefill_pace pace_of(const step_costs& costs, const step_features& decodes,
                     const step_features& prompts, slo promises);

/// An engine's prompts at one moment.
struct prefill_state {
  std::map<std::string, prompt_backlog> backlog_of{};  ///< by tenant
  prefill_pace pace{};                                 ///< of all of them; 0: not known yet
  double slack_ms = 0;  ///< step_planner's: infinite where nobody would be late

  prompt_backlog backlog() const;
  /// The same `ms` later, if nothing came: of each tenant's the same part was computed, at the pace
  /// ahead as long as there was slack, also where other work than prompts used that. A prompt
  /// that was computed since is still counted with no tokens left, as its sequence began of late.
  prefill_state after(double ms) const;
};

}  // namespace collm::coordinator
