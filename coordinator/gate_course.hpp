// Which replica of which site evaluates what, until the gate has its verdict. Pure; owner: the
// aggregator. One replica a site evaluates, for the sequences are the site's; a site that is silent
// while others answer is given up and named; while nobody is heard at all the gate waits.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/gate.hpp"

namespace collm::coordinator {

/// A replica that could evaluate for its site.
struct gate_replica {
  std::string replica, site;
  std::uint32_t pool = 0;  ///< held-out sequences in its site's store
};

struct gate_patience {
  double silent_ms = 10000;   ///< nothing heard of a site for so long: given up
  double answer_ms = 120000;  ///< heard, but not a difference more for so long: given up
};

/// What a replica is asked for: see schema::EvaluateTask.
struct gate_request {
  std::uint32_t from = 0, count = 0, guard_from = 0, guard_count = 0;
  friend bool operator==(const gate_request&, const gate_request&) = default;
};

/// What a replica answered, whole or in parts.
struct gate_answer {
  std::string replica, site;
  std::uint32_t from = 0;
  std::vector<double> differences = {};
  std::uint32_t read = 0;  ///< sequences looked at; what the model could not take has no difference
  std::uint32_t guard_from = 0;
  std::vector<double> guard = {};
  std::string failure = {};
};

class gate_course {
 public:
  /// Refusals as gate::open's. Of several replicas of a site the one with the largest pool (then
  /// the first by name) evaluates.
  static result<gate_course> open(const gate_options& o, const std::vector<gate_replica>& replicas,
                                  std::uint32_t guard_pool, const gate_patience& patience,
                                  double now_ms);

  /// A replica is there. Another takes over where a site's own is silent and it has as much.
  void heard(const gate_replica& r, double now_ms);
  std::optional<gate_request> task_for(const std::string& replica) const;
  /// What is known already is passed over. conflict: it does not follow what is known, or judges
  /// the guard set unasked; not_found: no such site here.
  result<void> take(const gate_answer& a, double now_ms);
  void time_passed(double now_ms);

  gate_verdict judge() const { return gate_.judge(); }

 private:
  struct site_state {
    std::string evaluator;
    std::uint32_t pool = 0;
    std::uint32_t next = 0;         ///< place in the site's order behind what was looked at
    double heard_ms = 0;            ///< the evaluator
    double progress_ms = 0;         ///< the last difference
    std::uint32_t passed_over = 0;  ///< of what was looked at, without a difference
  };
  explicit gate_course(gate g) : gate_(std::move(g)) {}
  result<void> take_own(const gate_answer& a, site_state& s);
  result<void> take_guard(const gate_answer& a);
  std::string guard_site() const;

  gate gate_;
  std::map<std::string, site_state> sites_;  ///< that are waited for
  std::uint32_t guard_have_ = 0;
  gate_patience patience_;
  double cut_off_ms_ = 0;  ///< when last nobody was heard
};

}  // namespace collm::coordinator
