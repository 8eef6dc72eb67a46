// What a shadow says, as messages. Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/shadow_task.hpp"

namespace collm::actors {

struct update_facts {
  std::string client, adapter, base_digest;
  std::uint32_t parent = 0;
  std::string parent_digest;
  engine::trained_factors trained = engine::trained_factors::both;
  std::uint64_t values = 0;
  std::string digest;
};

engine::trained_factors factors_of(schema::TrainedFactors t);

/// The bytes of an update from `at` on, `part` of them.
msg<schema::UpdateChunk> chunk_message(const update_facts& update, const shadow_task& task,
                                       std::uint64_t at, std::span<const std::byte> part);

/// The answer to an EvaluateTask. failure: the candidate cannot be had here.
msg<schema::Scores> scores_message(const schema::EvaluateTask::Reader& task,
                                   const std::string& replica, const std::string& site,
                                   const std::vector<double>& differences,
                                   const std::vector<double>& guard, const std::string& failure);

/// A version that this node alone serves.
msg<schema::VersionRecord> control_record(const version_id& id, const engine::adapter& weights,
                                          schema::VersionState state);

}  // namespace collm::actors
