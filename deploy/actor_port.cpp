#include "deploy/actor_port.hpp"

#include <spdlog/spdlog.h>

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "actors/replies.hpp"
#include "deploy/asker.hpp"

namespace collm::deploy {

namespace {

using actors::reply;
using record = msg<schema::VersionRecord>;
constexpr auto patience = std::chrono::seconds(5);
constexpr auto load_patience = std::chrono::seconds(120);

std::int64_t created_of(const schema::VersionRecord::Reader& v) {
  using namespace std::chrono;
  const auto now = duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
  return (now - static_cast<std::int64_t>(v.getAgeMs())) / 1000;
}

/// What requests can name at a node: canaries and versions that drain have their number only.
bool nameable(const schema::VersionRecord::Reader& v) {
  return v.getState() == schema::VersionState::SERVING ||
         v.getState() == schema::VersionState::CANARY ||
         v.getState() == schema::VersionState::DRAINING;
}

/// What requests can name through the head: what serves by the registry, if some node serves it.
std::function<bool(const schema::VersionRecord::Reader&)> served_by(
    const schema::ClusterStatus::Reader& status) {
  std::map<std::string, std::uint32_t> missing;
  std::uint32_t nodes = 0;
  for (const auto n : status.getNodes()) {
    if (n.getState() != schema::NodeState::SERVING) continue;
    ++nodes;
    for (const auto id : n.getMissing()) ++missing[id.cStr()];
  }
  return [missing, nodes](const schema::VersionRecord::Reader& v) {
    const auto at = missing.find(to_string(version_id{v.getAdapter().cStr(), v.getNumber()}));
    const std::uint32_t lack = at == missing.end() ? 0 : at->second;
    return v.getState() == schema::VersionState::SERVING && lack < nodes;
  };
}

/// The base, then each adapter by its bare name and by name@number.
std::vector<gateway::model_row> rows_of(
    const port_deps& deps, capnp::List<schema::VersionRecord>::Reader versions,
    const std::function<bool(const schema::VersionRecord::Reader&)>& wanted) {
  std::vector<gateway::model_row> rows = {{deps.base_name, deps.base_root, "", 0}};
  std::set<std::string> named;
  for (const auto v : versions) {
    if (!wanted(v)) continue;
    const version_id id{v.getAdapter().cStr(), v.getNumber()};
    if (v.getState() == schema::VersionState::SERVING && named.insert(id.name).second) {
      rows.push_back({id.name, to_string(id), deps.base_name, created_of(v)});
    }
    rows.push_back({to_string(id), v.getSource().cStr(), deps.base_name, created_of(v)});
  }
  return rows;
}

}  // namespace

actor_port::actor_port(caf::actor_system& system, port_deps deps, std::uint64_t id_seed)
    : system_(system), deps_(std::move(deps)), ids_(id_seed) {
  if (deps_.site_data) {
    site_ = std::make_unique<site_gateway>(system_, std::exchange(deps_.site_data, {}), deps_.site,
                                           deps_.files_index);
  }
  if (deps_.coordinator || deps_.registry) {
    federation_ = std::make_unique<federation_gateway>(
        system_,
        federation_actors{std::exchange(deps_.coordinator, {}), deps_.site,
                          std::exchange(deps_.aggregators, {}), std::exchange(deps_.registry, {})});
  }
}

actor_port::~actor_port() { close(); }

void actor_port::close() {
  {
    const std::lock_guard lock(live_->mutex);
    live_->closed = true;
    for (auto& [id, bridge] : live_->by_id)
      caf::anon_send_exit(caf::actor_cast<caf::actor>(bridge), caf::exit_reason::user_shutdown);
    live_->by_id.clear();
  }
  deps_.router = nullptr;
  deps_.telemetry = nullptr;
  deps_.node = nullptr;
  deps_.supervisor = nullptr;
  if (site_) site_->close();
  if (federation_) federation_->close();
}

/// A request's entry in the books, as long as its bridge lives: one that ends without a word, for
/// want of memory, leaves them all the same, and its client hears of it.
class actor_port::entry {
 public:
  entry(const actor_port& port, request_id id, std::shared_ptr<gateway::stream> to)
      : live_(port.live_),
        in_flight_(port.deps_.in_flight),
        telemetry_(port.deps_.telemetry),
        id_(id),
        to_(std::move(to)) {
    in_flight_->fetch_add(1);
  }
  ~entry() {
    if (ended_) return;
    const auto lost = find_and_end();
    if (!lost) return;
    try {
      const std::string why = "the request was lost in the runtime";
      spdlog::error("request {}: {}", id_, why);
      actors::request_outcome outcome;
      outcome.how = actors::request_outcome::kind::failed;
      outcome.reason = to_string(errc::internal);
      outcome.key = *lost;
      if (telemetry_) caf::anon_send(telemetry_, outcome);
      if (accepted)
        to_->finish(actors::finish_message(id_, schema::FinishReason::ERROR, why));
      else
        to_->reject(actors::reject_message(id_, {errc::unavailable, why, 1000}));
    } catch (const std::exception& e) {
      spdlog::error("request {} was lost, and its client cannot be told: {}", id_, e.what());
    }
  }
  void end() { find_and_end(); }

  std::atomic<bool> accepted{false};  ///< and its client told so

 private:
  /// The id of its bridge, 0: it had none; nothing once the port is closed and nobody listens.
  std::optional<caf::actor_id> find_and_end() {
    ended_ = true;
    in_flight_->fetch_sub(1);
    const std::lock_guard lock(live_->mutex);
    const auto at = live_->by_id.find(id_);
    const auto bridge = at == live_->by_id.end() || !at->second ? 0 : at->second.id();
    if (at != live_->by_id.end()) live_->by_id.erase(at);
    return live_->closed ? std::nullopt : std::optional<caf::actor_id>(bridge);
  }

  const std::shared_ptr<live_bridges> live_;
  const std::shared_ptr<std::atomic<std::uint32_t>> in_flight_;
  const actors::telemetry_actor telemetry_;
  const request_id id_;
  const std::shared_ptr<gateway::stream> to_;
  bool ended_ = false;
};

void actor_port::submit(msg<schema::Request> request, std::shared_ptr<gateway::stream> to) {
  const auto id = request.read()->getId();
  const auto held = std::make_shared<entry>(*this, id, to);
  actors::bridge_deps deps{
      .router = deps_.router,
      .telemetry = deps_.telemetry,
      .stream = {.accepted =
                     [to, held](auto m) {
                       to->accepted(std::move(m));
                       held->accepted = true;
                     },
                 .chunk = [to](auto m) { to->chunk(std::move(m)); },
                 .finish = [to](auto m) { to->finish(std::move(m)); },
                 .reject = [to](auto m) { to->reject(std::move(m)); }},
      .ended = [held](request_id) { held->end(); },
      .credit = gateway::stream_credit_start,
      .unsent_tokens_max = deps_.bounds.stream_unsent_tokens_max,
      .counts = deps_.bridges,
  };
  std::unique_lock lock(live_->mutex);  // the end of a very short life waits until the entry stands
  if (live_->closed) {
    lock.unlock();
    held->end();
    to->reject(actors::reject_message(id, {errc::draining, "this process is stopping", 5000}));
    return;
  }
  auto& bridge = live_->by_id[id];
  bridge = system_.spawn(actors::bridge_behavior, std::move(deps), std::move(request));
}

std::size_t actor_port::end_all(const std::string& why) {
  const std::lock_guard lock(live_->mutex);
  for (const auto& [id, bridge] : live_->by_id)
    caf::anon_send(bridge, actors::drain_atom::value, why);
  return live_->by_id.size();
}

actors::bridge_actor actor_port::find(request_id id) const {
  const std::lock_guard lock(live_->mutex);
  const auto at = live_->by_id.find(id);
  return at == live_->by_id.end() ? actors::bridge_actor() : at->second;
}

void actor_port::credit(request_id id, std::uint32_t chunks) {
  if (const auto bridge = find(id)) caf::anon_send(bridge, actors::credit_atom::value, chunks);
}

void actor_port::cancel(request_id id) {
  if (const auto bridge = find(id)) caf::anon_send(bridge, actors::cancel_atom::value);
}

void actor_port::models(std::function<void(std::vector<gateway::model_row>)> reply) {
  const auto alone =
      [reply, rows = std::vector<gateway::model_row>{{deps_.base_name, deps_.base_root, "", 0}}](
          const std::string&) { reply(rows); };
  if (deps_.supervisor) {
    ask(
        system_, deps_.supervisor, patience,
        [reply, deps = deps_](const msg<schema::ClusterStatus>& s) {
          const auto status = s.read();
          reply(rows_of(deps, status->getVersions(), served_by(*status)));
        },
        alone, actors::list_atom::value);
    return;
  }
  ask(
      system_, deps_.router, patience,
      [reply, deps = deps_](const msg<schema::VersionList>& l) {
        reply(rows_of(deps, l.read()->getVersions(), nameable));
      },
      alone, actors::list_atom::value);
}

void actor_port::status(std::function<void(msg<schema::ClusterStatus>)> reply) {
  const auto nothing = [reply](const std::string& why) {
    reply(msg<schema::ClusterStatus>::build(
        [&](schema::ClusterStatus::Builder b) { b.setCluster("no status: " + why); }));
  };
  if (deps_.supervisor) {
    ask(
        system_, deps_.supervisor, patience,
        [reply](const msg<schema::ClusterStatus>& s) { reply(s); }, nothing,
        actors::list_atom::value);
    return;
  }
  ask(
      system_, deps_.telemetry, patience,
      [reply, describe = deps_.describe](const msg<schema::Snapshot>& s) { reply(describe(s)); },
      nothing, actors::list_atom::value);
}

void actor_port::events(std::uint32_t after,
                        std::function<void(std::vector<msg<schema::Event>>)> reply) {
  ask(
      system_, deps_.telemetry, patience,
      [reply](const std::vector<msg<schema::Event>>& e) { reply(e); },
      [reply](const std::string&) { reply({}); }, actors::events_atom::value, after);
}

void actor_port::metrics(std::function<void(std::string)> reply) {
  ask(
      system_, deps_.telemetry, patience, [reply](const std::string& text) { reply(text); },
      [reply](const std::string& why) { reply("# telemetry did not answer: " + why + "\n"); },
      actors::metrics_atom::value);
}

void actor_port::load_adapter(std::string name, std::string folder,
                              std::function<void(result<record>)> reply) {
  const auto done = [reply](const actors::reply<record>& r) { reply(*r); };
  const auto failed = [reply](const std::string& why) {
    reply(error{errc::unavailable, "loading was not answered: " + why, 1000});
  };
  if (deps_.supervisor) {
    ask(system_, deps_.supervisor, load_patience, done, failed, actors::load_atom::value, name,
        folder);
  } else {
    ask(system_, deps_.node, load_patience, done, failed, actors::load_atom::value, name, folder);
  }
}

void actor_port::unload_adapter(std::string name, std::function<void(result<record>)> reply) {
  const auto done = [reply](const actors::reply<record>& r) { reply(*r); };
  const auto failed = [reply](const std::string& why) {
    reply(error{errc::unavailable, "unloading was not answered: " + why, 1000});
  };
  if (deps_.supervisor) {
    ask(system_, deps_.supervisor, load_patience, done, failed, actors::unload_atom::value, name);
  } else {
    ask(system_, deps_.node, load_patience, done, failed, actors::unload_atom::value, name);
  }
}

void actor_port::drain(std::string node, bool again, std::chrono::milliseconds deadline,
                       std::function<void(result<void>)> reply) {
  const auto done = [reply](const actors::reply<void>& r) { reply(*r); };
  const auto failed = [reply](const std::string& why) {
    reply(error{errc::unavailable, "drain was not answered: " + why, 1000});
  };
  if (deps_.supervisor) {
    ask(system_, deps_.supervisor, load_patience + deadline, done, failed,
        actors::drain_atom::value, node, again, static_cast<std::uint32_t>(deadline.count()));
  } else if (again) {
    reply(error{errc::bad_request, "a node is started anew by its head: ask that"});
  } else {
    ask(system_, deps_.node, load_patience + deadline, done, failed, actors::drain_atom::value,
        static_cast<std::uint32_t>(deadline.count()));
  }
}

void actor_port::shutdown(std::function<void(result<void>)> reply) {
  reply({});
  deps_.request_stop();
}

std::string actor_port::health_text() const {
  const auto fault = deps_.fault();
  return fault.empty() ? "ok" : fault;
}

}  // namespace collm::deploy
