// Who trains, how many steps, and when the next round opens: the policies that need no forecast.
// Pure; owner: the coordinator. One value an adapter. (The slow planner of ALGORITHMS 4 is one
// more.)
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"

namespace collm::coordinator {

enum class training_policy : std::uint8_t {
  inference_only,  ///< nobody trains
  static_split,    ///< a fixed share of the replicas only trains, the others only serve
  coserve_fill     ///< every replica with data trains in the slack that serving leaves
};
std::string_view to_string(training_policy p);
/// bad_request: names the policies that there are.
result<training_policy> training_policy_of(std::string_view name);

/// The replicas that only train: of each site's replicas, by name, the last `share` of them,
/// rounded up. bad_request: no such share, or a site would keep no replica that serves (both by
/// name, with what would be right).
inline constexpr double split_shares[] = {0.25, 0.5, 0.75};
result<std::set<std::string>> static_split_of(
    const std::map<std::string, std::vector<std::string>>& replicas_by_site, double share);

struct round_terms {
  std::uint32_t steps = 6;  ///< asked for at most
  double deadline_ms = 60000;
  std::uint32_t quorum = 2;
  std::uint32_t batch_tokens = 1024;
};

/// A shadow as it told itself.
struct shadow_view {
  std::string replica;
  std::uint32_t train_samples = 0;
  double tokens_per_s = 0;  ///< of training; 0: not measured yet
};

/// min(steps, floor(0.9 rate deadline / batchTokens)); 0 without data; all steps while the rate is
/// not known.
std::uint32_t steps_for(const round_terms& t, const shadow_view& s);

struct planned_member {
  std::string client;
  std::uint32_t steps = 0;
  friend bool operator==(const planned_member&, const planned_member&) = default;
};

struct round_policy_options {
  training_policy policy = training_policy::coserve_fill;
  round_terms terms;
  std::set<std::string> trainers = {};  ///< static_split: who trains
  std::uint32_t replicas = 0;           ///< expected; 0: not known
  double fresh_ms = 5000;               ///< heard within: it is there
  double gather_ms = 10000;             ///< longest wait for the others once a quorum is there
  /// A shadow whose rate allows no step before the deadline is asked for one step after so long:
  /// else nobody would measure again whether it is still so slow.
  double slow_again_ms = 600000;
};

class round_policy {
 public:
  explicit round_policy(round_policy_options o) : options_(std::move(o)) {}

  void heard(const shadow_view& s, double now_ms);
  void opened(std::uint32_t round);
  /// A round's end; told again, it counts once.
  void ended(std::uint32_t round, bool promoted, bool voided, double now_ms);
  /// Who trains in a round that opens now; empty: none opens. `asked`: a job wants more rounds,
  /// whether the last ones gained something or not.
  std::vector<planned_member> next(double now_ms, bool asked = false);

  /// Three rounds in a row were not promoted, and no data came since: nothing to gain.
  bool exhausted() const { return gainless_ >= gainless_max && samples() <= samples_then_; }
  /// Voided one after the other, without one that was not.
  std::uint32_t voided_in_a_row() const { return voided_; }
  std::uint32_t newest_round() const { return newest_; }
  bool running() const { return running_; }

 private:
  static constexpr std::uint32_t gainless_max = 3;
  struct seen {
    shadow_view view;
    double heard_ms = 0;
    double asked_ms = 0;  ///< to train; or first heard
  };
  std::uint64_t samples() const;
  std::vector<planned_member> members(double now_ms) const;

  round_policy_options options_;
  std::map<std::string, seen> shadows_;
  std::uint32_t newest_ = 0, last_ended_ = 0, gainless_ = 0, voided_ = 0;
  std::uint64_t samples_then_ = 0;  ///< when the last gainless round ended
  bool running_ = false;
  std::vector<planned_member> planned_;  ///< of the round that may open next
  double planned_ms_ = 0;
  double not_before_ms_ = 0;
  double quorum_since_ms_ = -1;
};

}  // namespace collm::coordinator
