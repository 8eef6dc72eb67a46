#include "actors/node.hpp"

#include <algorithm>
#include <filesystem>

#include "actors/replies.hpp"
#include "coordinator/following.hpp"
#include "engine/adapter/adapter.hpp"

namespace collm::actors {

namespace {

using self_ptr = node_actor::stateful_pointer<node_state>;
using record = msg<schema::VersionRecord>;
using record_promise = caf::typed_response_promise<reply<record>>;

record with_state(const record& r, schema::VersionState state) {
  return record::build([&](schema::VersionRecord::Builder b) {
    const auto from = r.read();
    b.setAdapter(from->getAdapter());
    b.setNumber(from->getNumber());
    b.setDigest(from->getDigest());
    b.setParent(from->getParent());
    b.setRank(from->getRank());
    b.setBytes(from->getBytes());
    b.setSource(from->getSource());
    b.setFolder(from->getFolder());
    b.setState(state);
  });
}

record local_record(const version_id& id, const engine::adapter& weights, const std::string& source,
                    schema::VersionState state) {
  return record::build([&](schema::VersionRecord::Builder b) {
    b.setAdapter(id.name);
    b.setNumber(id.number);
    b.setDigest(weights.digest);
    b.setRank(weights.rank_max);
    b.setBytes(weights.bytes);
    b.setSource(source);
    b.setState(state);
  });
}

class keeper {
 public:
  keeper(self_ptr self, node_deps deps, std::vector<initial_version> initial)
      : self_(self), s_(self->state), deps_(std::move(deps)) {
    for (const auto& v : initial) install({v.name, 0}, v.weights, v.source, nobody_waits);
    s_.initial = s_.unregistered = std::move(initial);
  }

  caf::result<reply<record>> load(const std::string& name, const std::string& folder) {
    auto promise = self_->make_response_promise<reply<record>>();
    if (const auto fault = coordinator::adapter_name_fault(name, deps_.base_name); !fault.empty()) {
      promise.deliver(
          make_reply<record>(error{errc::bad_request, "lora_name '" + name + "': " + fault}));
      return promise;
    }
    const auto from = std::filesystem::absolute(folder).lexically_normal().string();
    const auto weights = deps_.read_adapter(from);
    if (!weights || (!serves(name, (*weights)->digest) && full(name))) {
      promise.deliver(make_reply<record>(weights ? too_many(name) : weights.failure()));
      return promise;
    }
    const initial_version v{name, *weights, peft_source(from), from};
    self_->request(deps_.registry, std::chrono::seconds(5), registration(v, false))
        .then([this, promise, v](const reply<record>& r) mutable { registered(promise, r, v); },
              [promise](const caf::error&) mutable { promise.deliver(no_registry()); });
    return promise;
  }

  /// The registry first: what it calls serving would come back.
  caf::result<reply<record>> unload(const std::string& name) {
    auto promise = self_->make_response_promise<reply<record>>();
    const auto at = std::find_if(s_.versions.rbegin(), s_.versions.rend(), [&](const auto& v) {
      return v.first.name == name && v.second.state == schema::VersionState::SERVING;
    });
    if (at == s_.versions.rend()) {
      promise.deliver(make_reply<record>(
          error{errc::not_found, "adapter '" + name + "' is not loaded at " + deps_.node}));
      return promise;
    }
    self_->request(deps_.registry, std::chrono::seconds(5), unload_atom::value, at->first)
        .then(
            [this, promise, id = at->first](const reply<record>& r) mutable {
              if (*r) withdraw(id);
              promise.deliver(r);
            },
            [promise](const caf::error&) mutable { promise.deliver(no_registry()); });
    return promise;
  }

  caf::result<reply<void>> drain(std::uint32_t deadline_ms) {
    auto promise = self_->make_response_promise<reply<void>>();
    self_->send(deps_.router, drain_atom::value);
    deps_.on_drain();
    event(schema::EventLevel::INFO, "draining", "refuses new requests");
    s_.drains.push_back({promise, now_ms(self_) + deadline_ms});
    settle_drains();
    return promise;
  }

  void slot() {
    watch_engines();
    settle_drains();
    register_initial();
    ask_registry();
    self_->delayed_send(self_, s_.drains.empty() ? deps_.slot : deps_.slot / 10, slot_atom::value);
  }

 private:
  static void nobody_waits(const result<void>&) {}

  static reply<record> no_registry() {
    return make_reply<record>(error{
        errc::unavailable,
        "the registry at the head did not answer; versions are numbered and retired there", 2000});
  }

  bool serves(const std::string& name, const std::string& digest) const {
    return std::any_of(s_.versions.begin(), s_.versions.end(), [&](const auto& v) {
      return v.first.name == name && v.second.weights->digest == digest &&
             v.second.state == schema::VersionState::SERVING;
    });
  }

  std::ptrdiff_t resident(const std::string& name) const {
    return std::count_if(s_.versions.begin(), s_.versions.end(),
                         [&](const auto& v) { return v.first.name == name; });
  }
  bool full(const std::string& name) const { return resident(name) >= deps_.resident_max; }
  error too_many(const std::string& name) const {
    return {errc::overloaded,
            "'" + name + "' has " + std::to_string(resident(name)) +
                " versions in memory, held by running requests; try again",
            1000};
  }

  msg<schema::Register> registration(const initial_version& v, bool at_start) const {
    return msg<schema::Register>::build([&](schema::Register::Builder b) {
      b.setAdapter(v.name);
      b.setDigest(v.weights->digest);
      b.setRank(v.weights->rank_max);
      b.setBytes(v.weights->bytes);
      b.setSource(v.source);
      b.setFolder(v.folder);
      b.setNode(deps_.node);
      b.setBaseDigest(deps_.base_digest);
      b.setAtStart(at_start);
    });
  }

  void registered(record_promise& promise, const reply<record>& r, const initial_version& v) {
    if (!*r) {
      promise.deliver(r);
      return;
    }
    const version_id id{v.name, (**r).read()->getNumber()};
    install(id, v.weights, v.source, [promise, answer = **r](const result<void>& done) mutable {
      promise.deliver(done ? make_reply<record>(with_state(answer, schema::VersionState::SERVING))
                           : make_reply<record>(done.failure()));
    });
  }

  /// Loads on every replica, then routes new requests to it, then lets the version that served
  /// drain.
  void install(const version_id& id, const engine::adapter_ptr& weights, const std::string& source,
               node_state::installed then) {
    if (const auto at = s_.versions.find(id); at != s_.versions.end() &&
                                              at->second.state == schema::VersionState::SERVING &&
                                              at->second.weights->digest == weights->digest) {
      return then({});
    }
    auto& waiting = s_.installing[id];
    waiting.push_back(std::move(then));
    if (waiting.size() > 1) return;  // asked for twice: by an operator and by the registry's list
    auto left = std::make_shared<std::size_t>(deps_.replicas.size());
    auto failed = std::make_shared<std::optional<error>>();
    const auto one_done = [this, id, weights, source, left, failed](const result<void>& r) {
      if (!r) *failed = r.failure();
      if (--*left > 0) return;
      if (*failed) {
        event(schema::EventLevel::ERROR, "version_failed",
              to_string(id) + ": " + (*failed)->message);
      } else {
        serve(id, weights, source);
      }
      const auto outcome = *failed ? result<void>(**failed) : result<void>();
      const auto waited = s_.installing.extract(id);
      for (const auto& then : waited.mapped()) then(outcome);
    };
    for (const auto& replica : deps_.replicas) {
      self_->request(replica, caf::infinite, load_atom::value, id, weights)
          .then([one_done](const reply<void>& r) { one_done(*r); },
                [one_done](const caf::error&) {
                  one_done(error{errc::unavailable, "a replica ended while loading"});
                });
    }
  }

  void serve(const version_id& id, const engine::adapter_ptr& weights, const std::string& source) {
    std::vector<version_id> before;
    for (const auto& [other, resident] : s_.versions) {
      if (other.name == id.name && other != id && resident.state == schema::VersionState::SERVING)
        before.push_back(other);
    }
    s_.versions[id] = {weights, schema::VersionState::SERVING};
    s_.failed.erase(id);
    s_.sources[id.name] = source;
    self_->send(deps_.router, local_record(id, *weights, source, schema::VersionState::SERVING));
    for (const auto& old : before) retire(old);
    event(schema::EventLevel::INFO, "version_serving", to_string(id) + " (" + source + ")");
  }

  void retire(const version_id& id) {
    auto& resident = s_.versions.at(id);
    resident.state = schema::VersionState::DRAINING;
    self_->send(deps_.router,
                local_record(id, *resident.weights, "", schema::VersionState::RETIRED));
    auto left = std::make_shared<std::size_t>(deps_.replicas.size());
    const auto one_done = [this, id, left] {
      if (--*left > 0) return;
      const auto at = s_.versions.find(id);
      if (at == s_.versions.end() || at->second.state != schema::VersionState::DRAINING) return;
      s_.versions.erase(at);
      event(schema::EventLevel::INFO, "version_freed", to_string(id));
    };
    for (const auto& replica : deps_.replicas) {
      self_->request(replica, caf::infinite, unload_atom::value, id)
          .then([one_done](const reply<void>&) { one_done(); },
                [one_done](const caf::error&) { one_done(); });
    }
  }

  void register_initial() {
    for (const auto& v : std::exchange(s_.unregistered, {})) {
      ++s_.unanswered;
      self_->request(deps_.registry, std::chrono::seconds(5), registration(v, true))
          .then(
              [this, v](const reply<record>& r) {
                --s_.unanswered;
                initial_registered(v, r);
              },
              [this, v](const caf::error&) {
                --s_.unanswered;
                s_.unregistered.push_back(v);
              });
    }
  }

  void initial_registered(const initial_version& v, const reply<record>& r) {
    if (!*r) {
      if ((*r).failure().code == errc::unavailable) {
        s_.unregistered.push_back(v);  // the head is away: the site serves meanwhile
      } else {
        event(schema::EventLevel::ERROR, "version_failed",
              v.name + "@0: " + (*r).failure().message);
      }
      return;
    }
    const auto number = (**r).read()->getNumber();
    // The manifest names other factors than those that were @0 once: they get their own number.
    if (number != 0) install({v.name, number}, v.weights, v.source, nobody_waits);
  }

  /// The head may know versions that were loaded while this process was not there, or withdrawn.
  void ask_registry() {
    if (s_.unanswered > 0 || !s_.unregistered.empty()) return;
    ++s_.unanswered;
    self_->request(deps_.registry, std::chrono::seconds(5), list_atom::value)
        .then(
            [this](const reply<msg<schema::VersionList>>& r) {
              --s_.unanswered;
              if (*r) follow(**r);
            },
            [this](const caf::error&) { --s_.unanswered; });  // the head is away: asked again
  }

  void follow(const msg<schema::VersionList>& list) {
    const auto l = list.read();
    std::vector<coordinator::known_version> here;
    for (const auto& [id, v] : s_.versions)
      here.push_back({id, v.weights->digest, v.state == schema::VersionState::SERVING});
    const auto steps = coordinator::follow(registered_versions(*l), here);
    std::erase_if(s_.failed, [&](const auto& f) {
      return std::find(steps.load.begin(), steps.load.end(), f.first) == steps.load.end();
    });
    for (const auto& id : steps.retire) withdraw(id);
    for (const auto v : l->getVersions()) {
      const version_id id{v.getAdapter().cStr(), v.getNumber()};
      if (std::find(steps.load.begin(), steps.load.end(), id) != steps.load.end()) bring(id, v);
    }
  }

  void bring(const version_id& id, const schema::VersionRecord::Reader& wanted) {
    if (s_.installing.contains(id) || full(id.name)) return;
    const double now = now_ms(self_);
    const auto before = s_.failed.find(id);
    if (before != s_.failed.end() && now < before->second.retry_at_ms) return;
    const auto weights = factors_of(wanted);
    if (weights) return install(id, *weights, wanted.getSource().cStr(), nobody_waits);
    const auto& why = weights.failure().message;
    if (before == s_.failed.end() || before->second.reason != why) {
      event(schema::EventLevel::ERROR, "version_missing",
            to_string(id) + " serves by the registry and not here: " + why);
    }
    s_.failed[id] = {why, now + static_cast<double>(deps_.retry.count())};
  }

  /// What a record names, unchanged: the manifest's own factors or those of its folder.
  result<engine::adapter_ptr> factors_of(const schema::VersionRecord::Reader& wanted) const {
    const std::string digest = wanted.getDigest().cStr(), folder = wanted.getFolder().cStr();
    for (const auto& v : s_.initial) {
      if (v.weights->digest == digest) return v.weights;
    }
    if (folder.empty()) {
      return error{errc::not_found,
                   "it was made from a manifest that this node does not have; "
                   "unload it or bring that manifest back"};
    }
    auto read = deps_.read_adapter(folder);
    if (!read) return error{read.failure().code, folder + ": " + read.failure().message};
    if ((*read)->digest != digest) {
      return error{errc::conflict, folder + " holds other factors now (digest " +
                                       (*read)->digest.substr(0, 12) + ", registered " +
                                       digest.substr(0, 12) +
                                       "); load it again to serve them under a new number"};
    }
    return *read;
  }

  void withdraw(const version_id& id) {
    const auto at = s_.versions.find(id);
    if (at != s_.versions.end() && at->second.state == schema::VersionState::SERVING) retire(id);
  }

  void watch_engines() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    for (const auto& beat : deps_.beats) {
      const auto age = std::chrono::nanoseconds(now - beat->load());
      if (age > deps_.wedged_after) {
        deps_.wedged(deps_.node + ": the engine's loop made no turn for " +
                     std::to_string(std::chrono::duration_cast<std::chrono::seconds>(age).count()) +
                     " s");
      }
    }
  }

  void settle_drains() {
    const bool idle = deps_.requests_in_flight() == 0;
    std::erase_if(s_.drains, [&](node_state::waiting_drain& w) {
      if (!idle && now_ms(self_) < w.until_ms) return false;
      w.promise.deliver(idle ? make_reply<void>(result<void>())
                             : make_reply<void>(error{
                                   errc::timeout, "requests were still running at the deadline"}));
      return true;
    });
  }

  void event(schema::EventLevel level, const char* kind, const std::string& text) {
    self_->send(deps_.telemetry, event_message(level, deps_.node, kind, text));
  }

  self_ptr self_;
  node_state& s_;
  node_deps deps_;
};

}  // namespace

std::string peft_source(const std::string& folder) {
  return "peft:" + std::filesystem::path(folder).filename().string();
}

node_actor::behavior_type node_behavior(self_ptr self, node_deps deps,
                                        std::vector<initial_version> initial) {
  auto counts = deps.counts;
  watch(self, counts);
  auto d = std::make_shared<keeper>(self, std::move(deps), std::move(initial));
  const auto m = metered(self, counts);
  self->send(self, slot_atom::value);
  return {
      m([d](load_atom, const std::string& name, const std::string& folder) {
        return d->load(name, folder);
      }),
      m([d](unload_atom, const std::string& name) { return d->unload(name); }),
      m([d](drain_atom, std::uint32_t deadline_ms) { return d->drain(deadline_ms); }),
      m([d](slot_atom) { d->slot(); }),
      m([counts](status_atom) { return counts->status(); }),
  };
}

}  // namespace collm::actors
