// Whether a candidate may take the serving version's place: a paired sequential test of the
// cross entropies that every site measures on held-out data of its own, with a veto for each site
// and a general guard set. Pure; owner: the head. d = CE_serving - CE_candidate, nats a token, > 0:
// better. No text and no token of a site comes here, only these differences.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace collm::coordinator {

/// Nats a token, of what a site measured. As that site says: one number that is beyond all sense
/// must not hide the others'.
inline constexpr double measured_nats_max = 100;

struct gate_options {
  std::vector<std::uint32_t> looks = {16, 32, 64};  ///< sequences after which it is judged, rising
  double margin = 0.005;                            ///< improvement asked for
  double worst_site = 0.02;                         ///< loss at which a site vetoes
  double guard = 0.02;                              ///< loss allowed on the guard set
};

enum class gate_decision : std::uint8_t {
  waiting,        ///< for more differences
  promote,        ///< better by more than the margin, and nobody vetoes
  reject,         ///< worse, or vetoed at the last look
  undecided,      ///< neither at the last look: rejected, but the next round may go on from it
  operator_only,  ///< fewer than 8 sequences in all: too few to judge
};
std::string_view to_string(gate_decision d);

struct site_effect {
  std::string site = {};
  std::uint32_t count = 0;
  double mean = 0;
  double bound = 0;   ///< lower bound of the mean, 90 %; the mean itself below 8 sequences
  bool weak = false;  ///< fewer than 8: judged by its mean alone
  bool veto = false;
};

struct gate_verdict {
  gate_decision decision = gate_decision::waiting;
  std::uint32_t look = 0;  ///< sequences asked for at the look that decided
  std::uint32_t count = 0;
  double mean = 0, lower = 0, upper = 0;  ///< pooled, at the look's confidence
  std::vector<site_effect> sites = {};    ///< by name; the guard set is "(guard)"
  std::vector<std::string> silent = {};   ///< did not answer: they test before their own first use
  std::string reason = {};                ///< one line for people
};

class gate {
 public:
  /// `pools`: held-out sequences of each site; guard_pool: of the guard set, 0: there is none.
  /// bad_request: looks that do not rise, no site.
  static result<gate> open(const gate_options& o, std::map<std::string, std::uint32_t> pools,
                           std::uint32_t guard_pool);

  /// The looks that will be taken: those below the pool, and the last or the whole pool.
  const std::vector<std::uint32_t>& looks() const { return looks_; }
  /// Differences of a site that look `i` needs: ceil(n pool_s / pool), or as many as it has. The
  /// order of its sequences is the site's own, fixed by adapter and version.
  std::uint32_t needed(const std::string& site, std::size_t look) const;
  /// What is needed now, by site, beyond what came; empty: judge() has news, or has ended.
  std::map<std::string, std::uint32_t> wanted() const;
  /// The same of the guard set, of which look n needs the first n.
  std::uint32_t guard_wanted() const;

  /// Differences of a site's next sequences, in its order. A difference that is no finite number is
  /// a failure of the candidate: final. not_found: no such site; conflict: more than its pool.
  result<void> add(const std::string& site, const std::vector<double>& differences);
  result<void> add_guard(const std::vector<double>& differences);
  /// The site has looked at all of its sequences: what has no difference by now gets none, and is
  /// not waited for.
  void end_of(const std::string& site);
  /// The candidate could not be loaded or run there: final.
  void fail(const std::string& site, const std::string& why);
  /// The site does not answer in time: named, not waited for.
  void give_up(const std::string& site);

  /// The verdict on what has come; final once it is not `waiting`. The order of the sites' answers
  /// changes nothing.
  gate_verdict judge() const;

 private:
  gate(const gate_options& o, std::map<std::string, std::uint32_t> pools, std::uint32_t guard_pool);
  void plan_looks();
  std::uint32_t guard_needed(std::size_t look) const;
  bool complete(std::size_t look) const;
  std::uint64_t judgeable() const;
  std::size_t current_look() const;
  std::vector<site_effect> effects(std::size_t look) const;
  gate_verdict judge_look(std::size_t look) const;

  gate_options options_;
  std::map<std::string, std::uint32_t> pools_;  ///< of the sites that answer
  std::map<std::string, std::vector<double>> values_;
  std::set<std::string> ended_;  ///< sites that have no more than their values
  std::uint32_t guard_pool_ = 0;
  std::vector<double> guard_;
  std::vector<std::uint32_t> looks_;
  std::vector<std::string> silent_;
  std::string failure_;
};

// -- canary: live traffic before promotion

struct canary_options {
  double share = 0.5;
  std::uint32_t completions = 20;
  double time_max_ms = 15000;
};

/// Whether traffic allows a canary: at least 1 request a second of the adapter, mean of a minute.
inline constexpr double canary_rate_ms = 60000;
bool canary_possible(double requests_per_s);
/// Whether this request goes to the canary: the same everywhere, every time.
bool canary_takes(std::uint64_t request, std::uint32_t version, double share);

struct canary_counts {
  std::uint32_t bad = 0, count = 0;                ///< answers of the canary: late, cut or wrong
  std::uint32_t bad_before = 0, count_before = 0;  ///< of the serving version, meanwhile
  bool not_finite = false;                         ///< logits of the canary held NaN or infinity
};

/// Of all processes together, and of each site's that have any answer.
struct canary_traffic {
  canary_counts all = {};
  std::map<std::string, canary_counts> by_site = {};
};

/// Cross entropies of one site's canary reference set, nats a token.
struct reference_entropies {
  std::vector<double> canary = {}, serving = {};
};

enum class canary_decision : std::uint8_t { waiting, promote, roll_back };
struct canary_verdict {
  canary_decision decision = canary_decision::waiting;
  double p_bad = 1, p_entropy = 1;
  std::string reason = {};
};

/// Ends at `completions` answers or `time_max_ms`: rolls back where either one-sided test has
/// p < 0.025, and at once where logits are not finite. Each test is made of all together, and of
/// each site alone and, from three on, of all but each, p times how many tests these are
/// (Bonferroni): the numbers of one site hide nothing that others saw.
canary_verdict judge_canary(const canary_options& o, const canary_traffic& traffic,
                            const std::map<std::string, reference_entropies>& by_site,
                            double elapsed_ms);

}  // namespace collm::coordinator
