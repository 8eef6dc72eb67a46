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
  std::vector<std::uint32_t> ranks = {};  ///< of its pairs, where they are its own
};

/// How a shadow stands: see schema::ShadowState.
struct shadow_standing {
  std::string replica, site, adapter;
  schema::ShadowPhase phase = schema::ShadowPhase::IDLE;
  site_counts samples = {};  ///< by set
  double tokens_per_s = 0;
  std::uint32_t round = 0, attempt = 0, step = 0, steps = 0;
  double loss = 0;
  std::string declined;
};
msg<schema::ShadowState> state_message(const shadow_standing& s);

engine::trained_factors factors_of(schema::TrainedFactors t);

/// The bytes of an update from `at` on, `part` of them.
msg<schema::UpdateChunk> chunk_message(const update_facts& update, const shadow_task& task,
                                       std::uint64_t at, std::span<const std::byte> part);

/// What was measured for an EvaluateTask, or why nothing could be: see schema::Scores.
struct score_lists {
  std::vector<double> differences = {}, guard = {};
  std::vector<double> entropies = {}, entropies_before = {};  ///< of a canary's reference set
  std::uint32_t read = 0;  ///< sequences looked at; some may have no score
  std::string failure = {};
};
msg<schema::Scores> scores_message(const schema::EvaluateTask::Reader& task,
                                   const std::string& replica, const std::string& site,
                                   const score_lists& lists);

/// A version that this node alone serves.
msg<schema::VersionRecord> control_record(const version_id& id, const engine::adapter& weights,
                                          schema::VersionState state);

}  // namespace collm::actors
