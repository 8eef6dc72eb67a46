// One canary from its first request to its verdict: who measures both versions on the canary
// reference set, and when live traffic and these cross entropies together decide. Pure; owner: the
// aggregator. One replica a site measures; a site that does not answer is not waited for beyond
// the canary's longest time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/gate.hpp"
#include "coordinator/gate_course.hpp"

namespace collm::coordinator {

/// What a replica measured on its site's reference set; fewer than were asked for: there are no
/// more. Nats a token; the same sequences in both lists.
struct reference_answer {
  std::string replica, site;
  std::uint32_t from = 0;
  std::vector<double> entropies = {};         ///< of the canary
  std::vector<double> entropies_before = {};  ///< of the serving version
  std::string failure = {};                   ///< the canary cannot be run there
};

class canary_watch {
 public:
  canary_watch(const canary_options& o, double now_ms) : options_(o), began_ms_(now_ms) {}

  /// A replica is there; `pool`: sequences of its site's canary reference set.
  void heard(const gate_replica& r, double now_ms);
  /// What it is to measure now: `from` and `count` of its site's reference set.
  std::optional<gate_request> task_for(const std::string& replica) const;
  /// What is known already is passed over. bad_request: lists of two lengths; conflict: it does not
  /// follow what is known; not_found: no such site here.
  result<void> take(const reference_answer& a);

  /// `traffic`: since it began.
  canary_verdict judge(canary_traffic traffic, double now_ms) const;

 private:
  struct site_state {
    std::string measures;  ///< replica
    std::uint32_t pool = 0, have = 0;
    bool over = false;  ///< it has no more
    double heard_ms = 0;
  };
  bool complete(double now_ms) const;

  canary_options options_;
  double began_ms_ = 0;
  std::map<std::string, site_state> sites_;
  std::map<std::string, reference_entropies> entropies_;  ///< by site
  bool not_finite_ = false;
  std::string failure_;
};

/// "no worse than the serving version on live traffic (20 answers, 1 bad; serving 31, 2 bad)"
std::string canary_line(const canary_verdict& v, const canary_counts& counts);

}  // namespace collm::coordinator
