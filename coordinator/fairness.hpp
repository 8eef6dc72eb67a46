// Fairness between tenants: whose turn it is, what each leaves to those who had less, and when
// those who were turned away may come back. Pure: time is an argument.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/latency_model.hpp"
#include "coordinator/prefill.hpp"

namespace collm::coordinator {

/// What a prompt and `output_tokens` of answers take of an engine that is full, ms: their part of
/// steps that last as long as the TPOT promise allows. 0: nothing was measured yet.
double engine_time_ms(const step_costs& costs, double prompt_tokens, double output_tokens,
                      double tpot_slo_ms);

/// Time of one engine that tenants asked for and were given: counters as in VTC (Sheng et al., OSDI
/// 2024, arXiv 2401.00588) with measured costs in place of tokens. They fade, so that nobody saves
/// turns up while idle and nobody pays for long ago.
class tenant_times {
 public:
  static constexpr double memory_ms = 20'000;  ///< in so long a counter falls to 1/e
  static constexpr double span_ms = 2'000;     ///< who had a little less overtakes nobody
  static constexpr double silent_gaps = 3;  ///< who was silent for so many of its gaps asks no more
  static constexpr double still_ms = 5'000;  ///< who asked once and was silent so long asks no more

  void ask(const std::string& tenant, double engine_ms, double prompt_tokens, double now_ms);
  void give(const std::string& tenant, double engine_ms, double now_ms);

  double given_ms(const std::string& tenant, double now_ms) const;
  /// Whole spans that it was given: of those who wait, the tenant with the smallest goes first. Two
  /// who always wait are never further apart than a span and what one is given in one turn.
  double turn(const std::string& tenant, double now_ms) const;

  /// Whether it asks for about as much as the engine has, or more.
  bool asks_for_all(const std::string& tenant, double now_ms) const;

  /// What one tenant asks for whose turn comes before another's.
  struct claim {
    std::string tenant;
    double share = 0;          ///< of the engine's time, up to as much as the other was given
    double prompt_tokens = 0;  ///< about its longest prompt of late
    double stays = 0;          ///< part of it that does not fade: 1 while it asks
  };
  /// Whether its turn comes before another's.
  bool goes_first(const std::string& tenant, double now_ms) const;
  /// The claims that go before `tenant`; who asks for hardly anything has none.
  std::vector<claim> claims_before(const std::string& tenant, double now_ms) const;

 private:
  struct account {
    double asked_ms = 0, given_ms = 0;       ///< as they were at
    double at_ms = 0, asked_at_ms = -1;      ///< -1: it asked for nothing yet
    double gap_ms = still_ms / silent_gaps;  ///< mean, from one question to the next
    double longest_prompt = 0;
    bool asks_still(double now_ms) const;
  };
  account& faded(const std::string& tenant, double now_ms);
  std::map<std::string, account> accounts_;
};

/// Share of the engine's time that claims take together: at most half, or who was given most would
/// be refused by an engine that idles.
double share_of(const std::vector<tenant_times::claim>& claims);

/// The same in `wait_ms`: what of the claims does not stay fades until then.
double share_later(const std::vector<tenant_times::claim>& claims, double wait_ms);

/// Choices to keep free so that those who ask for `share` of the engine's time seldom find none.
/// Each that they alone may take is full that much more rarely than the one before (trunk
/// reservation), so a few do, whatever holds the others; at most `held`, as many as there are.
double choices_kept(double share, double held);

/// What of the `backlog`, by tenant, is computed before a new prompt of one tenant: all but those
/// whose turn comes after its own.
prompt_backlog prompts_ahead(const std::string& tenant,
                             const std::map<std::string, prompt_backlog>& backlog,
                             const tenant_times& times, double now_ms);

/// Those of one tenant who were turned away stand in a line that nobody sees: each is told when its
/// turn is, and until a little after that its place is kept. Who comes back is known by its
/// question: a client that obeys asks the same again.
class return_line {
 public:
  static constexpr double early_ms = 100;  ///< before its turn: clocks differ
  static constexpr double late_ms = 3000;  ///< after it: Retry-After is in whole seconds
  static constexpr std::size_t places_max = 1024;

  /// What is kept: prompt tokens and choices.
  struct room {
    double prompt_tokens = 0, choices = 0;
  };

  /// Whether it is the turn of who asks this.
  bool in_turn(std::uint64_t question, double now_ms) const;
  /// How long a new one would wait at least, ms.
  double wait_ms(double now_ms) const { return std::max(0.0, ends_ms_ - now_ms); }
  /// It was let in, in its turn or before it.
  void enter(std::uint64_t question, double now_ms);
  /// It was turned away: milliseconds until its turn. Who was in turn keeps its place and is told
  /// `least_ms`, who is too early what is left; others stand behind the last one, which takes
  /// `gap_ms`. Who would wait longer than `most_ms` is told that and has no place.
  std::uint32_t join(std::uint64_t question, room wanted, double now_ms, double gap_ms,
                     std::uint32_t least_ms, std::uint32_t most_ms);
  /// Room for those whose turn comes within `within_ms`, as many of them as came of late.
  room kept(double now_ms, double within_ms);
  bool empty(double now_ms);
  /// Share of those who stand in it that will come, as far as is known; 0: nobody stands there.
  double awaited(double now_ms) { return empty(now_ms) ? 0 : come_; }

 private:
  struct place {
    std::uint64_t question = 0;
    double turn_ms = 0;
    room wanted;
    bool in_turn(std::uint64_t asked, double now_ms) const {
      return asked == question && turn_ms - early_ms <= now_ms && now_ms <= turn_ms + late_ms;
    }
  };
  void forget_late(double now_ms);
  void learn(bool came);

  std::vector<place> places_;
  double ends_ms_ = 0;  ///< when the last one's turn is over
  double come_ = 0;     ///< share of those told to come back who do: what is not known is not kept
};

}  // namespace collm::coordinator
