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

template <class List, class Value>
void fill(List list, const std::vector<Value>& values) {
  for (std::uint32_t i = 0; i < list.size(); ++i) list.set(i, values[i]);
}

}  // namespace

msg<schema::ShadowState> state_message(const shadow_standing& s) {
  const auto count = [&](store::data_set set) {
    return static_cast<std::uint32_t>(s.samples[static_cast<std::size_t>(set)]);
  };
  return msg<schema::ShadowState>::build([&](schema::ShadowState::Builder b) {
    b.setReplica(s.replica);
    b.setSite(s.site);
    b.setAdapter(s.adapter);
    b.setPhase(s.phase);
    b.setTrainSamples(count(store::data_set::train));
    b.setGateSamples(count(store::data_set::gate));
    b.setCanarySamples(count(store::data_set::canary));
    b.setTokensPerSecond(static_cast<float>(s.tokens_per_s));
    b.setRound(s.round);
    b.setAttempt(s.attempt);
    b.setStep(s.step);
    b.setSteps(s.steps);
    b.setLoss(static_cast<float>(s.loss));
    b.setDeclined(s.declined);
  });
}

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
    fill(h.initRanks(static_cast<std::uint32_t>(update.ranks.size())), update.ranks);
    b.setAt(at);
    b.setData(
        kj::ArrayPtr<const kj::byte>(reinterpret_cast<const kj::byte*>(part.data()), part.size()));
  });
}

msg<schema::Scores> scores_message(const schema::EvaluateTask::Reader& task,
                                   const std::string& replica, const std::string& site,
                                   const score_lists& lists) {
  return msg<schema::Scores>::build([&](schema::Scores::Builder b) {
    b.setAdapter(task.getAdapter());
    b.setRound(task.getRound());
    b.setCandidate(task.getCandidate());
    b.setReplica(replica);
    b.setSite(site);
    b.setFrom(task.getFrom());
    b.setGuardFrom(task.getGuardFrom());
    b.setFailure(lists.failure);
    b.setRead(lists.read);
    b.setReference(task.getReference());
    const auto size = [](const std::vector<double>& v) {
      return static_cast<std::uint32_t>(v.size());
    };
    fill(b.initDifferences(size(lists.differences)), lists.differences);
    fill(b.initGuard(size(lists.guard)), lists.guard);
    fill(b.initEntropies(size(lists.entropies)), lists.entropies);
    fill(b.initEntropiesBefore(size(lists.entropies_before)), lists.entropies_before);
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
