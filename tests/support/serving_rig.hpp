// One node's production actors on virtual time over modelled executors: what a gateway would talk
// to.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "actors/bridge.hpp"
#include "actors/engine.hpp"
#include "actors/node.hpp"
#include "actors/registry.hpp"
#include "actors/replica.hpp"
#include "actors/router.hpp"
#include "actors/telemetry.hpp"
#include "store/digest.hpp"
#include "tests/support/modelled_executor.hpp"
#include "tests/support/modelled_telemetry.hpp"
#include "tests/support/virtual_system.hpp"

namespace collm::testing_support {

/// Everything that one client saw.
struct seen_answer {
  std::string adapter;
  std::uint32_t version = 0, accepted = 0, rejected = 0, finished = 0, chunks = 0;
  std::vector<std::int32_t> tokens;
  schema::FinishReason reason = schema::FinishReason::NONE;
  std::string code, message;
  std::uint32_t retry_after_ms = 0;
  bool ended = false;
  std::chrono::steady_clock::time_point arrived, first, last;  ///< of the request and its tokens
};

inline engine::adapter_ptr modelled_adapter(const std::string& digest) {
  auto a = std::make_shared<engine::adapter>();
  a->digest = digest;
  a->rank_max = 8;
  a->bytes = 100;
  return a;
}

/// Keeps versions in memory, numbered as the real store does.
class memory_versions final : public store::version_store {
 public:
  result<store::version_row> add(const store::version_row& row) override {
    for (const auto& r : rows_) {
      if (r.id.name == row.id.name && r.digest == row.digest) return r;
    }
    auto added = row;
    added.id.number = static_cast<std::uint32_t>(std::count_if(
        rows_.begin(), rows_.end(), [&](auto& r) { return r.id.name == row.id.name; }));
    rows_.push_back(added);
    return added;
  }
  bool lists = true;
  void forget() { rows_.clear(); }
  result<std::vector<store::version_row>> list() override {
    if (!lists) return error{errc::corrupt, "the database is damaged"};
    return rows_;
  }
  result<std::optional<store::version_row>> find(const version_id& id) override {
    for (const auto& r : rows_) {
      if (r.id == id) return std::optional(r);
    }
    return std::optional<store::version_row>();
  }
  result<store::version_row> promote(const version_id& id,
                                     const std::string& verdict = "") override {
    return move(id, store::version_state::serving, verdict);
  }
  result<store::version_row> move(const version_id& id, store::version_state to,
                                  const std::string& verdict) override {
    for (auto& r : rows_) {
      const bool replaced = r.id.name == id.name && r.id != id &&
                            to == store::version_state::serving && r.state == to;
      if (replaced) r.state = store::version_state::draining;
    }
    verdicts_[id] = verdict;
    return set(id, to);
  }
  result<store::version_row> rollback(const std::string& name) override {
    return error{errc::not_found, "no earlier version of " + name};
  }
  result<store::version_row> retire(const version_id& id) override {
    return set(id, store::version_state::retired);
  }
  result<void> set_lineage(const version_id& id, const store::version_lineage& made_of) override {
    lineages_[id] = made_of;
    return {};
  }
  result<std::optional<store::version_lineage>> lineage(const version_id& id) override {
    const auto at = lineages_.find(id);
    return at == lineages_.end() ? std::nullopt : std::optional(at->second);
  }
  result<std::string> verdict(const version_id& id) override { return verdicts_[id]; }

 private:
  result<store::version_row> set(const version_id& id, store::version_state state) {
    for (auto& r : rows_) {
      if (r.id != id) continue;
      r.state = state;
      return r;
    }
    return error{errc::not_found, to_string(id)};
  }
  std::vector<store::version_row> rows_;
  std::map<version_id, std::string> verdicts_;
  std::map<version_id, store::version_lineage> lineages_;
};

struct rig_options {
  std::uint32_t blocks = 1000, queued_max = 256, running_max = 64, unsent_tokens_max = 1024;
  /// Virtual time of a step; empty: none.
  std::function<std::chrono::microseconds(const coordinator::step_features&)> step_time = {};
  /// The head's registry, which outlives a node.
  std::shared_ptr<store::version_store> versions = std::make_shared<memory_versions>();
  /// What a PEFT folder holds; empty: factors whose digest is the folder's name.
  std::function<result<engine::adapter_ptr>(const std::string& folder)> read_adapter = {};
  /// What the node keeps of what it serves; null: nothing.
  std::shared_ptr<store::served_versions> served = {};
  bool head_away = false;  ///< nobody answers for the registry
};

/// The factors of a folder by its name; "bad" is refused.
inline result<engine::adapter_ptr> modelled_folder(const std::string& folder) {
  const auto name = std::filesystem::path(folder).filename().string();
  if (name == "bad") return error{errc::bad_request, "tensor q of layer 0: expected [8, 4]"};
  return modelled_adapter(name);
}

class serving_rig {
 public:
  explicit serving_rig(rig_options o = {}) : options_(o) {
    using namespace actors;
    auto told = modelled_telemetry("edge-a", "kitchen", board, board->make("telemetry", ""));
    told.requests_in_flight = [this] { return in_flight; };
    telemetry = system.keep(system.get().spawn(telemetry_behavior, std::move(told)));
    registry = system.keep(system.get().spawn(
        registry_behavior,
        registry_deps{o.versions, "base", telemetry, "head", board->make("registry", "")}));
    if (o.head_away) caf::anon_send_exit(registry, caf::exit_reason::kill);
    router = system.keep(system.get().spawn(
        router_behavior, router_deps{"edge-a", "tiny", board->make("router", "")}));
    replica = system.keep(
        system.get().spawn(replica_behavior,
                           replica_deps{.name = "edge-a/0",
                                        .queued_max = o.queued_max,
                                        .running_max = o.running_max,
                                        .promises = {},
                                        .counts = board->make("replica", "edge-a/0"),
                                        .routers = {router_actor(router)},
                                        .telemetry = telemetry},
                           [this](const replica_actor& owner) -> result<engine_actor> {
                             if (no_engine) return error{errc::unavailable, "no memory", 0};
                             auto steps = std::make_shared<modelled_executor>(options_.blocks);
                             executor = steps.get();
                             if (options_.step_time) {
                               steps->computes = [this](const coordinator::step_features& f) {
                                 system.compute(options_.step_time(f));
                               };
                             }
                             ++engines_made;
                             return engine_actor(system.keep(system.get().spawn(
                                 engine_behavior,
                                 engine_deps{.name = "edge-a/0",
                                             .steps = steps,
                                             .promises = {},
                                             .counts = board->make("engine", "edge-a/0"),
                                             .beat = beat,
                                             .modelled_turn = std::chrono::milliseconds(1)},
                                 owner)));
                           }));
    caf::anon_send(router, add_replica{"edge-a/0", replica});
    node = system.keep(system.get().spawn(
        node_behavior,
        node_deps{.node = "edge-a",
                  .base_name = "tiny",
                  .base_digest = "base",
                  .read_adapter = o.read_adapter ? o.read_adapter : modelled_folder,
                  .replicas = {replica},
                  .router = router,
                  .registry = registry,
                  .with_factors = [](const std::string&, const std::vector<float>& factors)
                      -> result<engine::adapter_ptr> {
                    return modelled_adapter(store::digest_of(std::as_bytes(std::span(factors))));
                  },
                  .served = o.served,
                  .telemetry = telemetry,
                  .beats = {},
                  .wedged = [](const std::string&) {},
                  .requests_in_flight = [this] { return in_flight; },
                  .on_drain = [] {},
                  .counts = board->make("node", "")},
        std::vector<initial_version>{
            {"assistant", first(), "initial", "", [this] { return first(); }}}));
    system.pass(std::chrono::milliseconds(1));
  }
  ~serving_rig() {
    for (auto& [id, b] : bridges)
      caf::anon_send_exit(caf::actor_cast<caf::actor>(b), caf::exit_reason::kill);
    bridges.clear();
    system.settle();
  }

  /// Sends a request; what comes back is collected in answers[id]. credit: chunks delivered without
  /// asking for more.
  /// `age`: since it arrived, if the system was computing then.
  request_id send(const std::string& model, std::vector<std::uint32_t> prompt,
                  std::uint32_t max_tokens, std::uint32_t credit = 1u << 30,
                  std::uint32_t choices = 1, std::chrono::microseconds age = {},
                  const std::string& tenant = "", bool interactive = true) {
    using namespace actors;
    const auto id = next_++;
    auto& answer = answers[id];
    answer.arrived = system.now() - age;
    auto request = msg<schema::Request>::build([&](schema::Request::Builder b) {
      b.setId(id);
      b.setModel(model);
      auto p = b.initPrompt(static_cast<std::uint32_t>(prompt.size()));
      for (std::uint32_t i = 0; i < prompt.size(); ++i) p.set(i, prompt[i]);
      b.setMaxTokens(max_tokens);
      b.setAgeUs(static_cast<std::uint64_t>(age.count()));
      b.setChoices(static_cast<std::uint16_t>(choices));
      b.setTenant(tenant);
      b.setInteractive(interactive);
    });
    stream_calls calls{.accepted =
                           [&answer](msg<schema::Accepted> m) {
                             ++answer.accepted;
                             answer.adapter = m.read()->getAdapter().cStr();
                             answer.version = m.read()->getVersion();
                           },
                       .chunk =
                           [this, &answer](msg<schema::TokenChunk> m) {
                             answer.last = system.now();
                             if (++answer.chunks == 1) answer.first = answer.last;
                             const auto r = m.read();
                             for (auto t : r->getTokens())
                               answer.tokens.push_back(static_cast<std::int32_t>(t.getId()));
                           },
                       .finish =
                           [&answer](msg<schema::Finish> m) {
                             ++answer.finished;
                             answer.reason = m.read()->getReason();
                             answer.message = m.read()->getMessage().cStr();
                           },
                       .reject =
                           [&answer](msg<schema::Reject> m) {
                             ++answer.rejected;
                             answer.code = m.read()->getCode().cStr();
                             answer.message = m.read()->getMessage().cStr();
                             answer.retry_after_ms = m.read()->getRetryAfterMs();
                           }};
    bridge_deps deps{.router = router,
                     .telemetry = telemetry,
                     .stream = std::move(calls),
                     .ended =
                         [this, &answer](request_id) {
                           answer.ended = true;
                           --in_flight;
                         },
                     .credit = credit,
                     .unsent_tokens_max = options_.unsent_tokens_max,
                     .counts = bridge_counts};
    ++in_flight;
    bridges[id] = system.get().spawn(bridge_behavior, std::move(deps), std::move(request));
    return id;
  }

  void load(const std::string& folder, const std::string& name = "assistant") {
    caf::anon_send(node, actors::load_atom::value, name, folder);
  }
  actors::reply<msg<schema::VersionRecord>> unload(const std::string& name) {
    return system.ask<actors::reply<msg<schema::VersionRecord>>>(node, actors::unload_atom::value,
                                                                 name);
  }
  /// Messages of all events of a kind.
  std::vector<std::string> events(const std::string& kind) {
    std::vector<std::string> out;
    for (const auto& e : system.ask<std::vector<msg<schema::Event>>>(
             telemetry, actors::events_atom::value, std::uint32_t{0})) {
      if (kind == e.read()->getKind().cStr()) out.emplace_back(e.read()->getMessage().cStr());
    }
    return out;
  }

  virtual_system system;
  std::weak_ptr<const engine::adapter> made;  ///< the manifest's adapter
  actors::meter_board_ptr board = std::make_shared<actors::meter_board>();
  actors::meter_ptr bridge_counts = board->make("bridge", "");
  actors::heartbeat beat = std::make_shared<std::atomic<std::int64_t>>(0);
  actors::telemetry_actor telemetry;
  actors::registry_actor registry;
  actors::node_router_actor router;
  actors::replica_actor replica;
  actors::local_node_actor node;
  modelled_executor* executor = nullptr;
  int engines_made = 0;
  bool no_engine = false;  ///< none can be made
  std::uint32_t in_flight = 0;
  std::map<request_id, seen_answer> answers;
  std::map<request_id, actors::bridge_actor> bridges;

 private:
  engine::adapter_ptr first() {
    auto a = modelled_adapter("first");
    made = a;
    return a;
  }

  rig_options options_;
  request_id next_ = 1;
};

}  // namespace collm::testing_support
