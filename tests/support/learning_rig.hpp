// The head's training actors on virtual time over real stores in a folder, with modelled shadows:
// the head can be killed and started again, its disk can fail at any call.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "actors/aggregator.hpp"
#include "actors/coordinator.hpp"
#include "actors/registry.hpp"
#include "actors/telemetry.hpp"
#include "tests/support/federated_cohort.hpp"
#include "tests/support/modelled_shadow.hpp"
#include "tests/support/modelled_telemetry.hpp"
#include "tests/support/power_cut.hpp"
#include "tests/support/store_folder.hpp"
#include "tests/support/virtual_system.hpp"

namespace collm::testing_support {

struct learning_options {
  federation::strategy how = {};
  std::uint32_t quorum = 2, steps = 6, rounds_kept = 16, guard_pool = 0;
  double deadline_ms = 60000, operator_ms = 600000;
  std::uint64_t blob_bytes_max = 1 << 20;
  bool standing = true;
  coordinator::training_policy policy = coordinator::training_policy::coserve_fill;
  std::set<std::string> trainers = {};  ///< static_split: who only trains
  std::function<void(actors::aggregator_deps&)> change = {};
};

class learning_rig {
 public:
  learning_rig(std::filesystem::path folder, learning_options o = {})
      : options_(std::move(o)), folder_(std::move(folder)) {
    auto deps = modelled_telemetry("head", "", board, board->make("telemetry", ""));
    deps.events_max = 100000;
    telemetry = system.keep(system.get().spawn(actors::telemetry_behavior, std::move(deps)));
  }
  ~learning_rig() {
    stop_head();
    for (const auto& m : board->all()) {
      EXPECT_EQ(m->failures(), 0u) << m->name();
      EXPECT_EQ(m->unexpected(), 0u) << m->name();
    }
  }

  /// A new life of the head over what its folder holds.
  void start_head(power& p) {
    using namespace actors;
    disk_ = std::make_unique<powered_disk>(p);
    std::shared_ptr<store::version_store> versions = std::make_shared<powered_versions>(
        std::move(*store::open_version_store(folder_ / "registry.db")), p);
    registry = system.get().spawn(
        registry_behavior,
        registry_deps{versions, "base", telemetry, "head", board->make("registry", "")});
    coordinator::round_policy_options policy{
        .policy = options_.policy,
        .terms = {.steps = options_.steps,
                  .deadline_ms = options_.deadline_ms,
                  .quorum = options_.quorum},
        .trainers = options_.trainers,
        .replicas = static_cast<std::uint32_t>(shadows.size())};
    coordinator = system.get().spawn(
        coordinator_behavior,
        coordinator_deps{.adapters = {{"assistant", policy, options_.standing}},
                         .jobs = std::move(*store::open_job_store(folder_ / "jobs.db")),
                         .unix_time = [] { return std::int64_t{1700000000}; },
                         .telemetry = telemetry,
                         .counts = board->make("coordinator", "")});
    aggregator_deps deps;
    deps.adapter = "assistant";
    deps.shape = federation::small_shape();
    deps.how = options_.how;
    deps.guard_pool = options_.guard_pool;
    deps.deadline_ms = options_.deadline_ms;
    deps.operator_ms = options_.operator_ms;
    deps.quorum = options_.quorum;
    deps.rounds_kept = options_.rounds_kept;
    deps.base_digest = "base";
    deps.factors_of = [](const msg<schema::VersionRecord>&) -> result<std::vector<float>> {
      return std::vector<float>(federation::small_shape().count(), 0.25f);
    };
    deps.version_digest = [](const std::vector<float>& f) -> result<std::string> {
      return "digest " + store::digest_of(std::as_bytes(std::span(f))).substr(0, 16);
    };
    deps.journal = std::make_shared<powered_journal>(
        std::move(*store::open_round_journal(folder_ / "rounds.db")), p);
    deps.blobs =
        std::move(*store::blob_store::open(folder_ / "blobs", options_.blob_bytes_max, *disk_));
    deps.registry = registry;
    deps.coordinator = coordinator;
    deps.telemetry = telemetry;
    deps.counts = board->make("aggregator", "assistant");
    if (options_.change) options_.change(deps);
    aggregator = system.get().spawn(aggregator_behavior, std::move(deps));
    *current_ = aggregator;
    register_initial();
  }
  void start_head() { start_head(steady_); }

  void stop_head() {
    *current_ = nullptr;
    for (const caf::actor& a :
         {caf::actor_cast<caf::actor>(aggregator), caf::actor_cast<caf::actor>(coordinator),
          caf::actor_cast<caf::actor>(registry)})
      if (a) caf::anon_send_exit(a, caf::exit_reason::kill);
    aggregator = nullptr;
    coordinator = nullptr;
    registry = nullptr;
    system.settle();
  }

  shadow_model_ptr add_shadow(const std::string& replica, const std::string& site) {
    auto model = std::make_shared<shadow_model>();
    model->replica = replica;
    model->site = site;
    shadows.push_back(model);
    system.keep(
        system.get().spawn(modelled_shadow_behavior,
                           modelled_shadow_deps{model, "assistant", "base",
                                                [](schema::TrainedFactors t) {
                                                  return federation::small_shape().count(
                                                      static_cast<federation::trained_factors>(t));
                                                },
                                                current_}));
    return model;
  }
  void three_sites() {
    add_shadow("edge-a/0", "kitchen");
    add_shadow("edge-b/0", "workshop");
    add_shadow("edge-c/0", "office");
  }

  /// Passes time until the round is in that state; false: not within `most`.
  bool wait_for(std::uint32_t round, schema::RoundState state,
                std::chrono::seconds most = std::chrono::seconds(120)) {
    for (std::chrono::milliseconds t{0}; t < most; t += step) {
      if (state_of(round) == state) return true;
      system.pass(step);
    }
    return state_of(round) == state;
  }
  /// Until 100 ms before the shadows' next turn, which comes with each second; from a time that
  /// steps of 50 ms lead there.
  void pass_until_shadows_are_next() {
    using namespace std::chrono;
    const auto at = [this] { return floor<milliseconds>(system.now().time_since_epoch()); };
    do {
      system.pass(milliseconds(50));
    } while (at() % seconds(1) != milliseconds(900));
  }
  std::optional<schema::RoundState> state_of(std::uint32_t round) {
    for (const auto& r : rounds())
      if (r.read()->getNumber() == round) return r.read()->getState();
    return std::nullopt;
  }
  std::vector<msg<schema::Round>> rounds() {
    using answer = actors::reply<msg<schema::RoundList>>;
    const auto list = system.ask<answer>(aggregator, actors::list_atom::value);
    std::vector<msg<schema::Round>> out;
    if (!*list) return out;
    const auto read = (**list).read();
    for (const auto r : read->getRounds()) out.push_back(msg<schema::Round>::copy_of(r));
    return out;
  }
  msg<schema::Round> round(std::uint32_t number) {
    for (auto& r : rounds())
      if (r.read()->getNumber() == number) return r;
    ADD_FAILURE() << "no round " << number;
    return msg<schema::Round>::build([](schema::Round::Builder) {});
  }
  std::map<std::uint32_t, schema::VersionState> versions() {
    std::map<std::uint32_t, schema::VersionState> out;
    const auto list =
        system.ask<actors::reply<msg<schema::VersionList>>>(registry, actors::list_atom::value);
    const auto read = (**list).read();
    for (const auto v : read->getVersions()) out[v.getNumber()] = v.getState();
    return out;
  }
  std::vector<std::string> events(const std::string& kind) {
    std::vector<std::string> out;
    for (const auto& e : system.ask<std::vector<msg<schema::Event>>>(
             telemetry, actors::events_atom::value, std::uint32_t{0}))
      if (kind == e.read()->getKind().cStr()) out.emplace_back(e.read()->getMessage().cStr());
    return out;
  }
  template <class T, class... Question>
  actors::reply<T> ask(Question... question) {
    return system.ask<actors::reply<T>>(aggregator, question...);
  }

  std::chrono::milliseconds step{500};
  virtual_system system;
  actors::meter_board_ptr board = std::make_shared<actors::meter_board>();
  actors::telemetry_actor telemetry;
  actors::head_registry_actor registry;
  actors::head_coordinator_actor coordinator;
  actors::head_aggregator_actor aggregator;
  std::vector<shadow_model_ptr> shadows;

 private:
  /// As a node does at its start.
  void register_initial() {
    caf::anon_send(registry, msg<schema::Register>::build([](schema::Register::Builder b) {
                     b.setAdapter("assistant");
                     b.setDigest("initial");
                     b.setSource("initial");
                     b.setBaseDigest("base");
                     b.setAtStart(true);
                   }));
    system.settle();
  }

  learning_options options_;
  std::filesystem::path folder_;
  power steady_;
  std::unique_ptr<powered_disk> disk_;
  std::shared_ptr<actors::aggregator_actor> current_ = std::make_shared<actors::aggregator_actor>();
};

}  // namespace collm::testing_support
