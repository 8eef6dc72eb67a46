// What must hold after every turn of the simulated cluster, and what must hold when it is quiet.
// A checker looks at the state of production actors and at what is durable; it sends nothing.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "federation/round_record.hpp"
#include "tests/simulation/cluster/head.hpp"
#include "tests/simulation/cluster/node.hpp"
#include "tests/simulation/cluster/world.hpp"

namespace collm::simulation {

/// A node's bounds, credit, blocks and pins, and that nothing unexpected came to its actors.
void check_node(world& in, const sim_node& node);
/// Requests whose outcome was not told, or told twice; none: nothing.
std::optional<law_broken> unaccounted(const sim_gateway& gateway,
                                      const actors::telemetry_actor& telemetry,
                                      const std::string& where);
/// What is not yet as it must be when none of a node's requests runs any more; none: nothing.
std::optional<law_broken> unrest_of(const sim_node& node, store::version_store& registered);
/// `failing_steps`: of engines, that the plan asked for.
void check_meters(world& in, const actors::meter_board& board, const std::string& where,
                  std::uint32_t failing_steps = 0);

/// What the head has made durable, over all its lives: versions and the journal of rounds.
class durable_laws {
 public:
  durable_laws(world& in, std::shared_ptr<known_versions> known, const learning_facts& learns)
      : in_(in), known_(std::move(known)), learns_(learns) {}
  /// Looks only after a durable call.
  void check(const sim_head& head);
  /// The newest round; 0: none.
  std::uint32_t newest_round() const { return journals_.empty() ? 0 : journals_.rbegin()->first; }
  bool ended(std::uint32_t round) const;
  std::uint32_t rounds() const { return static_cast<std::uint32_t>(journals_.size()); }
  std::uint32_t promoted() const { return promoted_; }

  update_tap tap;

 private:
  struct sums {  ///< of one round
    federation::round_setup setup;
    std::vector<federation::round_record> accepted;
    std::string version_digest;  ///< of what follows from them
  };
  void check_versions(const std::vector<store::version_row>& rows);
  void check_journal(store::round_journal& journal);
  void check_record(std::uint32_t round, const std::string& text);
  void check_sum(sums& s, const federation::round_record& r);
  const std::vector<float>* factors_of(const std::string& digest);

  world& in_;
  std::shared_ptr<known_versions> known_;
  const learning_facts& learns_;
  const testing_support::power* seen_ = nullptr;
  int seen_calls_ = -1;
  std::map<version_id, std::string> digests_;  ///< of the registry's rows
  std::map<std::uint32_t, std::vector<std::string>> journals_;
  std::map<std::uint32_t, sums> sums_;
  std::set<std::pair<std::string, std::uint32_t>> counted_;  ///< client and task
  std::map<std::string, std::vector<float>> factors_;        ///< by a version's digest
  std::uint32_t promoted_ = 0;
};

}  // namespace collm::simulation
