#include "actors/shadow_messages.hpp"

#include "engine/adapter/adapter.hpp"

namespace collm::actors {

namespace {

schema::TrainedFactors wire(engine::trained_factors t) {
  switch (t) {
    case engine::trained_factors::a_only:
      return schema::TrainedFactors::A_ONLY;
    case engine::trained_factors::b_only:
      return schema::TrainedFactors::B_ONLY;
    case engine::trained_factors::both:
      break;
  }
  return schema::TrainedFactors::BOTH;
}

template <class List>
void fill(List list, const std::vector<double>& values) {
  for (std::uint32_t i = 0; i < list.size(); ++i) list.set(i, values[i]);
}

}  // namespace

engine::trained_factors factors_of(schema::TrainedFactors t) {
  return t == schema::TrainedFactors::A_ONLY   ? engine::trained_factors::a_only
         : t == schema::TrainedFactors::B_ONLY ? engine::trained_factors::b_only
                                               : engine::trained_factors::both;
}

msg<schema::UpdateChunk> chunk_message(const update_facts& update, const shadow_task& task,
                                       std::uint64_t at, std::span<const std::byte> part) {
  return msg<schema::UpdateChunk>::build([&](schema::UpdateChunk::Builder b) {
    auto h = b.initHeader();
    h.setClient(update.client);
    h.setRound(task.round);
    h.setAttempt(task.attempt);
    h.setAdapter(update.adapter);
    h.setBaseDigest(update.base_digest);
    h.setParent(update.parent);
    h.setParentDigest(update.parent_digest);
    h.setTrained(wire(update.trained));
    h.setTokens(task.tokens);
    h.setValues(update.values);
    h.setDigest(update.digest);
    b.setAt(at);
    b.setData(
        kj::ArrayPtr<const kj::byte>(reinterpret_cast<const kj::byte*>(part.data()), part.size()));
  });
}

msg<schema::Scores> scores_message(const schema::EvaluateTask::Reader& task,
                                   const std::string& replica, const std::string& site,
                                   const std::vector<double>& differences,
                                   const std::vector<double>& guard, const std::string& failure) {
  return msg<schema::Scores>::build([&](schema::Scores::Builder b) {
    b.setAdapter(task.getAdapter());
    b.setRound(task.getRound());
    b.setCandidate(task.getCandidate());
    b.setReplica(replica);
    b.setSite(site);
    b.setFrom(task.getFrom());
    b.setGuardFrom(task.getGuardFrom());
    b.setFailure(failure);
    fill(b.initDifferences(static_cast<std::uint32_t>(differences.size())), differences);
    fill(b.initGuard(static_cast<std::uint32_t>(guard.size())), guard);
  });
}

msg<schema::VersionRecord> control_record(const version_id& id, const engine::adapter& weights,
                                          schema::VersionState state) {
  return msg<schema::VersionRecord>::build([&](schema::VersionRecord::Builder b) {
    b.setAdapter(id.name);
    b.setNumber(id.number);
    b.setDigest(weights.digest);
    b.setRank(weights.rank_max);
    b.setBytes(weights.bytes);
    b.setSource("control");
    b.setState(state);
  });
}

}  // namespace collm::actors
