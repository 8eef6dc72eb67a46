#include "deploy/head_training.hpp"

#include "actors/aggregator.hpp"
#include "actors/coordinator.hpp"
#include "deploy/actor_system.hpp"
#include "deploy/adapter_row.hpp"
#include "deploy/initial_versions.hpp"
#include "deploy/manifest_strategy.hpp"
#include "deploy/training_samples.hpp"
#include "store/blob_store.hpp"
#include "store/job_store.hpp"
#include "store/round_journal.hpp"

namespace collm::deploy {

namespace {

using namespace actors;

constexpr std::uint64_t blobs_bytes_max = 4ull << 30;  // updates and sums of one adapter's rounds

learning_adapter learning_of(const spawn_plan& plan, const federation_spec& f,
                             coordinator::training_policy policy) {
  learning_adapter out{.name = f.adapter, .policy = {}, .standing = f.standing};
  out.policy.policy = policy;
  out.policy.terms = {.steps = f.steps,
                      .deadline_ms = static_cast<double>(f.deadline_ms),
                      .quorum = f.quorum,
                      .batch_tokens = plan.training.batch_tokens};
  out.policy.trainers = plan.trainers;
  out.policy.replicas = static_cast<std::uint32_t>(plan.trainers.size());
  if (plan.trainers.empty())
    for (const auto& n : plan.nodes) out.policy.replicas += n.replicas;
  return out;
}

/// The factors of a version that no round made, as one row.
auto rows_of(const engine::base_ptr& base, const engine::adapter_ptr& initial) {
  return [base, initial](const msg<schema::VersionRecord>& record) -> result<std::vector<float>> {
    const auto r = record.read();
    const std::string folder = r->getFolder().cStr(), digest = r->getDigest().cStr();
    auto weights = initial;
    if (!folder.empty()) {
      auto read = engine::load_peft(*base, folder);
      if (!read) return error{read.failure().code, folder + ": " + read.failure().message};
      weights = *read;
    }
    if (engine::adapter_digest(*weights) != digest)
      return error{errc::conflict, "the factors of " + std::string(r->getAdapter().cStr()) + "@" +
                                       std::to_string(r->getNumber()) + " are not here: digest " +
                                       engine::adapter_digest(*weights).substr(0, 12) +
                                       ", registered " + digest.substr(0, 12)};
    return row_of(*weights);
  };
}

}  // namespace

result<std::unique_ptr<head_training>> head_training::start(caf::actor_system& system,
                                                            const spawn_plan& plan,
                                                            const opened_model& model,
                                                            const head_neighbours& with) {
  const auto policy = coordinator::training_policy_of(plan.coordinator.policy);
  if (!policy) return policy.failure();
  auto initial = initial_versions(plan, model.base);
  if (!initial) return initial.failure();
  auto jobs = store::open_job_store(plan.head.state_dir / "jobs.db");
  if (!jobs) return jobs.failure();
  std::unique_ptr<head_training> made(new head_training());
  coordinator_deps coordinating{.adapters = {},
                                .jobs = std::move(*jobs),
                                .unix_time = {},
                                .telemetry = with.telemetry,
                                .counts = with.board->make("coordinator", "")};
  for (const auto& f : plan.federation)
    coordinating.adapters.push_back(learning_of(plan, f, *policy));
  made->coordinator_ = system.spawn<caf::detached>(coordinator_behavior, std::move(coordinating));
  for (const auto& f : plan.federation) {
    const auto like = std::find_if(initial->begin(), initial->end(),
                                   [&](const auto& v) { return v.name == f.adapter; });
    if (like == initial->end())
      return error{errc::not_found, "no adapter '" + f.adapter + "' to federate"};
    const auto how = strategy_of(f);
    if (!how)
      return error{how.failure().code, "federation of " + f.adapter + ": " + how.failure().message};
    auto journal = store::open_round_journal(plan.head.state_dir / "rounds.db");
    if (!journal) return journal.failure();
    auto blobs =
        store::blob_store::open(plan.head.state_dir / "rounds" / f.adapter, blobs_bytes_max);
    if (!blobs) return blobs.failure();
    aggregator_deps deps;
    deps.adapter = f.adapter;
    deps.shape = shape_of(*like->weights);
    deps.how = *how;
    deps.gate = {
        .looks = f.looks, .margin = f.margin, .worst_site = f.worst_site, .guard = f.guard};
    deps.guard_pool = static_cast<std::uint32_t>(guard_samples(*model.encoder->tokens).size());
    if (f.canary)
      deps.canary = coordinator::canary_options{.share = f.canary_share,
                                                .completions = f.canary_completions,
                                                .time_max_ms = double(f.canary_max_time_ms)};
    deps.deadline_ms = f.deadline_ms;
    deps.quorum = f.quorum;
    deps.base_digest = model.base_digest;
    deps.factors_of = rows_of(model.base, like->weights);
    deps.version_digest =
        [weights = like->weights](const std::vector<float>& row) -> result<std::string> {
      auto version = adapter_of_row(*weights, row);
      if (!version) return version.failure();
      return engine::adapter_digest(**version);
    };
    deps.journal = std::move(*journal);
    deps.blobs = std::move(*blobs);
    deps.registry = with.registry;
    deps.coordinator = made->coordinator_;
    deps.telemetry = with.telemetry;
    deps.counts = with.board->make("aggregator", f.adapter);
    made->aggregators_[f.adapter] =
        system.spawn<caf::detached>(aggregator_behavior, std::move(deps));
  }
  return made;
}

void head_training::stop() {
  for (const auto& [name, aggregator] : aggregators_) end_actor(aggregator);
  aggregators_.clear();
  if (coordinator_) end_actor(coordinator_);
  coordinator_ = nullptr;
}

}  // namespace collm::deploy
