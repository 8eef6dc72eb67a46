// A head that learns and two sites that serve live requests, all production actors on virtual time:
// registry, aggregator, coordinator and supervisor at the head; router, replica, engine, node,
// telemetry and bridges at each site. Modelled: executors, shadows, and the link (which is there
// while the head is).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "actors/site_router.hpp"
#include "actors/supervisor.hpp"
#include "tests/support/learning_rig.hpp"
#include "tests/support/site_node.hpp"

namespace collm::testing_support {

struct canary_rig_options {
  coordinator::canary_options canary = {.share = 0.5, .completions = 20, .time_max_ms = 15000};
  bool asked_for = true;  ///< the manifest has gate.canary
};

class canary_rig {
 public:
  canary_rig(std::filesystem::path folder, canary_rig_options o = {})
      : options_(o), head(std::move(folder), learning(o)) {
    registry_ = head.system.keep(head.system.get().spawn(
        [this](actors::registry_actor::pointer self) { return registry_link(self); }));
    aggregator_ = head.system.keep(head.system.get().spawn(
        [this](actors::aggregator_actor::pointer self) { return aggregator_link(self); }));
    add_site("edge-a", "kitchen");
    add_site("edge-b", "workshop");
  }
  ~canary_rig() {
    stop_head();
    nodes.clear();
  }

  void start_head() { start_head(steady_); }
  void start_head(power& p) {
    using namespace actors;
    head.start_head(p);
    auto& system = head.system.get();
    ingress_ = system.spawn(site_router_behavior, std::vector<std::string>{"kitchen", "workshop"},
                            head.board->make("site_router", ""));
    supervisor_deps deps{.cluster = "demo",
                         .product_version = "0",
                         .base_name = "tiny",
                         .base_digest = "base",
                         .precision = "int8",
                         .nodes = {},
                         .inactive = {},
                         .launch = [](const std::string&, std::uint64_t) -> result<std::int32_t> {
                           return error{errc::io, "nodes of this rig are here already"};
                         },
                         .kill = [](std::int32_t) {},
                         .telemetry = head.telemetry,
                         .registry = head.registry,
                         .ingress = ingress_,
                         .traffic = {traffic_actor(head.aggregator)},
                         .on_serving = [](std::uint32_t, std::uint32_t) {},
                         .counts = head.board->make("supervisor", "")};
    for (const auto& n : nodes) deps.nodes.push_back({n->deps().name, n->deps().site, false});
    supervisor_ = system.spawn(supervisor_behavior, std::move(deps));
    for (const auto& n : nodes) join(*n);
    head.system.settle();
  }

  void stop_head() {
    for (const caf::actor& a :
         {caf::actor_cast<caf::actor>(supervisor_), caf::actor_cast<caf::actor>(ingress_)})
      if (a) caf::anon_send_exit(a, caf::exit_reason::kill);
    supervisor_ = nullptr;
    ingress_ = nullptr;
    head.stop_head();
  }

  /// Requests for the bare name, one each `gap`, at one node after the other.
  void play(std::chrono::milliseconds time, std::chrono::milliseconds gap) {
    for (std::chrono::milliseconds t{0}; t < time; t += gap) {
      nodes[next_ % nodes.size()]->send(next_, "assistant");
      ++next_;
      head.system.pass(gap);
    }
  }
  /// Until the round is in that state; false: not within two minutes.
  bool play_until(std::uint32_t round, schema::RoundState state, std::chrono::milliseconds gap) {
    const auto end = head.system.now() + std::chrono::minutes(2);
    while (head.state_of(round) != state && head.system.now() < end) play(gap, gap);
    return head.state_of(round) == state;
  }

  /// Answers to requests for the bare name, from request `from` on, by version.
  std::map<std::uint32_t, std::uint32_t> answered(request_id from = 1) const {
    std::map<std::uint32_t, std::uint32_t> out;
    for (const auto& n : nodes)
      for (const auto& [id, a] : n->answers)
        if (id >= from && a.model == "assistant" && a.finished == 1) ++out[a.version];
    return out;
  }
  request_id next() const { return next_; }

 private:
  canary_rig_options options_;  // before head, whose options name it

 public:
  learning_rig head;
  std::vector<std::unique_ptr<site_node>> nodes;
  /// A token of a version, by digest; false: its logits are not finite.
  std::function<bool(const std::string& digest)> gives = [](const std::string&) { return true; };
  /// Whether it gives none, without end.
  std::function<bool(const std::string& digest)> stalls = [](const std::string&) { return false; };

 private:
  static learning_options learning(const canary_rig_options& o) {
    learning_options out;
    out.change = [o](actors::aggregator_deps& deps) {
      if (o.asked_for) deps.canary = o.canary;
    };
    return out;
  }

  void add_site(const std::string& node, const std::string& site) {
    head.add_shadow(node + "/0", site);
    site_node_deps deps{.name = node,
                        .site = site,
                        .registry = registry_,
                        .aggregator = aggregator_,
                        .board = head.board,
                        .gives = [this](const std::string& digest) { return gives(digest); },
                        .stalls = [this](const std::string& digest) { return stalls(digest); },
                        .tpot_slo_ms = 10};
    if (options_.asked_for) deps.canary_shares["assistant"] = options_.canary.share;
    nodes.push_back(std::make_unique<site_node>(head.system, std::move(deps)));
  }

  void join(const site_node& n) {
    const auto hello = msg<schema::Hello>::build([&](schema::Hello::Builder b) {
      b.setName(n.deps().name);
      b.setSite(n.deps().site);
      b.setIncarnation(1);
      b.setPid(1);
    });
    caf::anon_send(supervisor_, actors::join_atom::value, hello, actors::router_actor(n.router),
                   actors::node_actor(n.node));
    caf::anon_send(supervisor_, actors::attach_atom::value, n.deps().name, n.telemetry);
  }

  template <class T, class Self, class Target, class... Question>
  static caf::result<actors::reply<T>> pass_on(Self self, const Target& to, Question... question) {
    if (!to) return actors::make_reply<T>(error{errc::unavailable, "the head is away", 1000});
    return self->delegate(to, question...);
  }
  static msg<schema::ActorStatus> no_status() {
    return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
  }

  actors::registry_actor::behavior_type registry_link(actors::registry_actor::pointer self) {
    using namespace actors;
    using record = msg<schema::VersionRecord>;
    return {[this, self](const msg<schema::Register>& r) {
              return pass_on<record>(self, head.registry, r);
            },
            [this, self](list_atom a) {
              return pass_on<msg<schema::VersionList>>(self, head.registry, a);
            },
            [this, self](promote_atom a, const version_id& id) {
              return pass_on<record>(self, head.registry, a, id);
            },
            [this, self](rollback_atom a, const std::string& name) {
              return pass_on<record>(self, head.registry, a, name);
            },
            [this, self](unload_atom a, const std::string& name) {
              return pass_on<record>(self, head.registry, a, name);
            },
            [](status_atom) { return no_status(); }};
  }

  actors::aggregator_actor::behavior_type aggregator_link(actors::aggregator_actor::pointer self) {
    using namespace actors;
    return {[this, self](const msg<schema::ShadowState>& s) {
              return pass_on<msg<schema::Work>>(self, head.aggregator, s);
            },
            [this, self](const msg<schema::UpdateChunk>& c) {
              return pass_on<msg<schema::UploadPlace>>(self, head.aggregator, c);
            },
            [this, self](const msg<schema::Scores>& s) {
              return pass_on<void>(self, head.aggregator, s);
            },
            [this, self](const msg<schema::FactorsWanted>& w) {
              return pass_on<msg<schema::FactorsChunk>>(self, head.aggregator, w);
            },
            [](status_atom) { return no_status(); }};
  }

  actors::registry_actor registry_;
  actors::aggregator_actor aggregator_;
  actors::site_router_actor ingress_;
  actors::head_supervisor_actor supervisor_;
  request_id next_ = 1;
  power steady_;
};

}  // namespace collm::testing_support
