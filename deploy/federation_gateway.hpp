// gateway::federation_port over the coordinator, the aggregators and the registry. Any thread.
#pragma once

#include <map>
#include <string>

#include "actors/interfaces.hpp"
#include "gateway/federation_port.hpp"

namespace collm::deploy {

struct federation_actors {
  actors::coordinator_actor coordinator{};  ///< none: jobs are refused
  std::string site{};                       ///< of this gateway; empty: the head's
  // -- the head's; empty on a node
  std::map<std::string, actors::head_aggregator_actor> aggregators{};
  actors::registry_actor registry{};
};

class federation_gateway final : public gateway::federation_port {
 public:
  federation_gateway(caf::actor_system& system, federation_actors to)
      : system_(system), to_(std::move(to)) {}

  void create_job(gateway::job_order order, reply<msg<schema::Job>> to) override;
  void jobs(reply<msg<schema::JobList>> to) override;
  void cancel_job(std::string id, reply<msg<schema::Job>> to) override;
  void rounds(std::string adapter, reply<msg<schema::RoundList>> to) override;
  void explain(version_id version, reply<msg<schema::Explanation>> to) override;
  void replay(std::string adapter, std::uint32_t round, std::string without,
              reply<msg<schema::Replay>> to) override;
  void close_round(std::string adapter, std::string who, reply<void> to) override;
  void rollback(std::string adapter, reply<msg<schema::VersionRecord>> to) override;
  void factors(version_id version, std::uint64_t at, std::uint32_t count,
               reply<msg<schema::FactorsChunk>> to) override;

  /// Drops every actor handle. Before the actor system ends.
  void close() { to_ = {}; }

 private:
  struct named_aggregator {
    std::string adapter;
    actors::head_aggregator_actor actor;
  };
  /// By name; the only one where the name is empty.
  result<named_aggregator> aggregator(const std::string& adapter) const;
  /// The number that `version` means: its own, or that of what serves.
  void resolve(const version_id& version, reply<version_id> to) const;

  caf::actor_system& system_;
  federation_actors to_;
};

}  // namespace collm::deploy
