// A cluster of production actors under a plan: a head and its nodes live and die on virtual time,
// joined by a virtual link, and every law is checked after every turn.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/simulation/cluster/head.hpp"
#include "tests/simulation/cluster/laws.hpp"
#include "tests/simulation/cluster/node.hpp"
#include "tests/simulation/cluster/plan.hpp"
#include "tests/simulation/cluster/world.hpp"

namespace collm::simulation {

/// What became of a run.
struct outcome {
  std::uint64_t seed = 0, hash = 0, turns = 0;
  std::map<std::string, std::uint32_t> endings = {};  ///< of requests, by how they ended
  std::map<std::string, std::uint32_t> seen = {};     ///< what happened besides, by what
  std::string broken_law = {}, report = {};           ///< empty: every law held
  bool sabotaged = false;                             ///< the place to break was reached
};

class cluster {
 public:
  /// `folder` is the run's own and is made anew.
  cluster(plan p, std::filesystem::path folder, sabotage broken = sabotage::none);
  ~cluster();
  cluster(const cluster&) = delete;

  outcome run();

 private:
  struct place {
    node_facts facts;
    std::shared_ptr<weather> sky = std::make_shared<weather>();
    std::unique_ptr<sim_node> node;
  };
  void start_head();
  void kill_head(const std::string& why);
  result<std::int32_t> launch(const std::string& name, std::uint64_t incarnation);
  void start_node(place& p, std::uint64_t incarnation, std::int32_t pid, std::uint64_t head_life);
  void end_node(place& p, const std::string& why, std::int32_t status);
  place* at(const std::string& name);
  bool head_lives() const { return head_ && head_->proc->alive; }

  void act_on(const step& s);
  void ask(const step& s);
  void fault(const step& s);
  void stop_for(const process_ptr& p, milliseconds lasts);
  void break_engine(const replica_parts& r);
  void check(process* p);
  void play();
  void end_quietly();
  std::optional<law_broken> unrest(std::uint32_t round) const;
  bool all_ended() const;
  void count(outcome& o) const;
  std::string report(const law_broken& e) const;

  plan plan_;
  std::filesystem::path folder_;
  world world_;
  std::shared_ptr<known_versions> known_ = std::make_shared<known_versions>();
  durable_laws durable_;
  std::shared_ptr<testing_support::power> power_;
  std::unique_ptr<sim_head> head_;
  std::uint64_t head_life_ = 0, next_serial_ = 1;
  std::int32_t next_pid_ = 1000;
  bool dies_at_call_ = false;
  std::vector<std::unique_ptr<place>> places_;
  std::vector<std::unique_ptr<sim_node>> dead_nodes_;
  std::vector<std::unique_ptr<sim_head>> dead_heads_;
  std::vector<account_ptr> accounts_;
  std::map<std::string, std::uint32_t> seen_;
};

/// One run of the plan that follows from `seed`.
outcome run_seed(std::uint64_t seed, const std::filesystem::path& folder,
                 sabotage broken = sabotage::none);

}  // namespace collm::simulation
