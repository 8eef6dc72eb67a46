// The production actors of one site's node on virtual time, over a modelled executor: registry and
// aggregator are wherever its owner says.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "actors/bridge.hpp"
#include "actors/engine.hpp"
#include "actors/node.hpp"
#include "actors/replica.hpp"
#include "actors/router.hpp"
#include "actors/telemetry.hpp"
#include "store/digest.hpp"
#include "tests/support/modelled_executor.hpp"
#include "tests/support/modelled_telemetry.hpp"
#include "tests/support/virtual_system.hpp"

namespace collm::testing_support {

struct site_node_deps {
  std::string name, site;
  actors::registry_actor registry;
  actors::aggregator_actor aggregator;
  actors::meter_board_ptr board;
  std::map<std::string, double> canary_shares = {};
  /// A token of a version, by digest: see modelled_executor.
  std::function<bool(const std::string&digest)> gives = {}, stalls = {};
  std::uint32_t replicas = 1;
  std::set<std::string> only_train = {};  ///< of the replicas, by name
  double tpot_slo_ms = 120;
};

/// The digest of a version with these factors, here and at the head.
inline std::string modelled_digest(const std::vector<float>& factors) {
  return "digest " + store::digest_of(std::as_bytes(std::span(factors))).substr(0, 16);
}

class site_node {
 public:
  struct answer {
    std::string model;
    std::uint32_t version = 0, finished = 0, rejected = 0;
    schema::FinishReason reason = schema::FinishReason::NONE;
    std::string message = {}, replica = {};
  };

  site_node(virtual_system& system, site_node_deps deps) : system_(system), deps_(std::move(deps)) {
    spawn_telemetry();
    router = system_.keep(system_.get().spawn(
        actors::router_behavior,
        actors::router_deps{deps_.name, "tiny", meter("router"), deps_.canary_shares}));
    for (std::uint32_t i = 0; i < deps_.replicas; ++i) {
      const auto name = deps_.name + "/" + std::to_string(i);
      spawn_replica(name);
      caf::anon_send(router,
                     actors::add_replica{name, replicas.back(), deps_.only_train.contains(name)});
    }
    spawn_node();
    system_.settle();
  }
  ~site_node() {
    for (auto& [id, b] : bridges_)
      caf::anon_send_exit(caf::actor_cast<caf::actor>(b), caf::exit_reason::kill);
    bridges_.clear();
    system_.settle();
  }
  site_node(const site_node&) = delete;
  site_node& operator=(const site_node&) = delete;

  /// A request that came in at this node's gateway; what comes of it is in answers[id].
  void send(request_id id, const std::string& model, std::uint32_t max_tokens = 3) {
    auto& a = answers[id];
    a = {.model = model};
    const auto request = msg<schema::Request>::build([&](schema::Request::Builder b) {
      b.setId(id);
      b.setModel(model);
      b.initPrompt(1).set(0, 7);
      b.setMaxTokens(max_tokens);
      b.setChoices(1);
    });
    actors::stream_calls calls{.accepted =
                                   [&a](const msg<schema::Accepted>& m) {
                                     a.version = m.read()->getVersion();
                                     a.replica = m.read()->getReplica().cStr();
                                   },
                               .chunk = [](const msg<schema::TokenChunk>&) {},
                               .finish =
                                   [&a](const msg<schema::Finish>& m) {
                                     ++a.finished;
                                     a.reason = m.read()->getReason();
                                   },
                               .reject =
                                   [&a](const msg<schema::Reject>& m) {
                                     ++a.rejected;
                                     a.message = m.read()->getMessage().cStr();
                                   }};
    actors::bridge_deps bridge{.router = router,
                               .telemetry = telemetry,
                               .stream = std::move(calls),
                               .ended = [](request_id) {},
                               .credit = 1u << 30,
                               .unsent_tokens_max = 1024,
                               .counts = bridge_counts_};
    bridges_[id] = system_.get().spawn(actors::bridge_behavior, std::move(bridge), request);
  }

  std::vector<std::string> events(const std::string& kind) {
    std::vector<std::string> out;
    for (const auto& e : system_.ask<std::vector<msg<schema::Event>>>(
             telemetry, actors::events_atom::value, std::uint32_t{0}))
      if (kind == e.read()->getKind().cStr()) out.emplace_back(e.read()->getMessage().cStr());
    return out;
  }
  /// State of the resident versions as the node's snapshot shows them, by number.
  std::map<std::uint32_t, schema::VersionState> resident() {
    std::map<std::uint32_t, schema::VersionState> out;
    const auto snapshot = system_.ask<msg<schema::Snapshot>>(telemetry, actors::list_atom::value);
    const auto read = snapshot.read();
    for (const auto v : read->getVersions()) out[v.getNumber()] = v.getState();
    return out;
  }
  const site_node_deps& deps() const { return deps_; }

  actors::telemetry_actor telemetry;
  actors::node_router_actor router;
  std::vector<actors::replica_actor> replicas;
  actors::local_node_actor node;
  std::map<request_id, answer> answers;

 private:
  actors::meter_ptr meter(const char* name) { return deps_.board->make(name, deps_.name); }

  void spawn_telemetry() {
    auto deps = modelled_telemetry(deps_.name, deps_.site, std::make_shared<actors::meter_board>(),
                                   meter("telemetry"));
    deps.tpot_slo_ms = deps_.tpot_slo_ms;
    telemetry = system_.keep(system_.get().spawn(actors::telemetry_behavior, std::move(deps)));
  }

  void spawn_replica(const std::string& name) {
    using namespace actors;
    const auto make_engine = [this, name](const replica_actor& owner) -> result<engine_actor> {
      auto steps = std::make_shared<modelled_executor>(1000);
      steps->gives = deps_.gives;
      steps->stalls = deps_.stalls;
      return engine_actor(system_.keep(
          system_.get().spawn(engine_behavior,
                              engine_deps{.name = name,
                                          .steps = steps,
                                          .promises = {},
                                          .counts = meter("engine"),
                                          .beat = beat_,
                                          .modelled_turn = std::chrono::milliseconds(1)},
                              owner)));
    };
    replicas.push_back(
        system_.keep(system_.get().spawn(replica_behavior,
                                         replica_deps{.name = name,
                                                      .queued_max = 256,
                                                      .running_max = 64,
                                                      .promises = {},
                                                      .counts = meter("replica"),
                                                      .routers = {router_actor(router)},
                                                      .telemetry = telemetry},
                                         make_engine)));
  }

  static engine::adapter_ptr with_digest(const std::string& digest) {
    auto a = std::make_shared<engine::adapter>();
    a->digest = digest;
    a->rank_max = 8;
    a->bytes = 100;
    return a;
  }

  void spawn_node() {
    using namespace actors;
    node_deps deps{
        .node = deps_.name,
        .base_name = "tiny",
        .base_digest = "base",
        .read_adapter = [](const std::string&) -> result<engine::adapter_ptr> {
          return error{errc::not_found, "no folder here"};
        },
        .replicas = replicas,
        .router = router,
        .registry = deps_.registry,
        .aggregator = deps_.aggregator,
        .with_factors = [](const std::string&, const std::vector<float>& factors)
            -> result<engine::adapter_ptr> { return with_digest(modelled_digest(factors)); },
        .telemetry = telemetry,
        .beats = {},
        .wedged = [](const std::string&) {},
        .requests_in_flight = [] { return 0u; },
        .on_drain = [] {},
        .counts = meter("node")};
    const auto initial = [] { return with_digest("initial"); };
    node = system_.keep(system_.get().spawn(
        node_behavior, std::move(deps),
        std::vector<initial_version>{{"assistant", initial(), "initial", "", initial}}));
  }

  virtual_system& system_;
  site_node_deps deps_;
  actors::heartbeat beat_ = std::make_shared<std::atomic<std::int64_t>>(0);
  actors::meter_ptr bridge_counts_ = deps_.board->make("bridge", deps_.name);
  std::map<request_id, actors::bridge_actor> bridges_;
};

}  // namespace collm::testing_support
