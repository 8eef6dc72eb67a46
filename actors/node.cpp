#include "actors/node.hpp"

#include <algorithm>
#include <filesystem>

#include "actors/replies.hpp"
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
    for (auto& v : initial) {
      install({v.name, 0}, v.weights, v.source, [](const result<void>&) {});
      s_.unregistered.push_back(std::move(v));
    }
  }

  caf::result<reply<record>> load(const std::string& name, const std::string& folder) {
    auto promise = self_->make_response_promise<reply<record>>();
    if (auto refused = refuse_load(name)) {
      promise.deliver(make_reply<record>(*refused));
      return promise;
    }
    auto weights = deps_.read_adapter(folder);
    if (!weights) {
      promise.deliver(make_reply<record>(weights.failure()));
      return promise;
    }
    const auto source = "peft:" + std::filesystem::path(folder).filename().string();
    self_->request(deps_.registry, std::chrono::seconds(5), registration(name, **weights, source))
        .then([this, promise, w = *weights,
               source](const reply<record>& r) mutable { registered(promise, r, w, source); },
              [promise](const caf::error&) mutable {
                promise.deliver(make_reply<record>(error{
                    errc::unavailable,
                    "the registry at the head did not answer; a version gets its number there",
                    2000}));
              });
    return promise;
  }

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
    const auto id = at->first;
    const auto gone =
        local_record(id, *at->second.weights, s_.sources[name], schema::VersionState::RETIRED);
    retire(id);
    promise.deliver(make_reply<record>(gone));
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
    self_->delayed_send(self_, s_.drains.empty() ? deps_.slot : deps_.slot / 10, slot_atom::value);
  }

 private:
  std::optional<error> refuse_load(const std::string& name) const {
    const bool clean = !name.empty() && name.size() <= 64 &&
                       std::all_of(name.begin(), name.end(), [](unsigned char c) {
                         return std::isalnum(c) || c == '-' || c == '_' || c == '.';
                       });
    if (!clean) {
      return error{errc::bad_request,
                   "lora_name '" + name + "': 1 to 64 letters, digits, '-', '_' or '.'"};
    }
    const auto resident = std::count_if(s_.versions.begin(), s_.versions.end(),
                                        [&](const auto& v) { return v.first.name == name; });
    if (resident >= deps_.resident_max) {
      return error{errc::overloaded,
                   "'" + name + "' has " + std::to_string(resident) +
                       " versions in memory, held by running requests; try again",
                   1000};
    }
    return std::nullopt;
  }

  msg<schema::Register> registration(const std::string& name, const engine::adapter& w,
                                     const std::string& source) const {
    return msg<schema::Register>::build([&](schema::Register::Builder b) {
      b.setAdapter(name);
      b.setDigest(w.digest);
      b.setRank(w.rank_max);
      b.setBytes(w.bytes);
      b.setSource(source);
      b.setNode(deps_.node);
      b.setBaseDigest(deps_.base_digest);
    });
  }

  void registered(record_promise& promise, const reply<record>& r,
                  const engine::adapter_ptr& weights, const std::string& source) {
    if (!*r) {
      promise.deliver(r);
      return;
    }
    const auto v = (**r).read();
    const version_id id{v->getAdapter().cStr(), v->getNumber()};
    install(id, weights, source, [promise, answer = **r](const result<void>& done) mutable {
      promise.deliver(done ? make_reply<record>(with_state(answer, schema::VersionState::SERVING))
                           : make_reply<record>(done.failure()));
    });
  }

  /// Loads on every replica, then routes new requests to it, then lets the version that served
  /// drain.
  void install(const version_id& id, const engine::adapter_ptr& weights, const std::string& source,
               std::function<void(const result<void>&)> then) {
    auto left = std::make_shared<std::size_t>(deps_.replicas.size());
    auto failed = std::make_shared<std::optional<error>>();
    const auto one_done = [this, id, weights, source, left, failed, then](const result<void>& r) {
      if (!r) *failed = r.failure();
      if (--*left > 0) return;
      if (*failed) {
        event(schema::EventLevel::ERROR, "version_failed",
              to_string(id) + ": " + (*failed)->message);
        then(**failed);
        return;
      }
      serve(id, weights, source);
      then({});
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
    if (s_.unregistered.empty()) return;
    const auto v = s_.unregistered.front();
    s_.unregistered.erase(s_.unregistered.begin());
    self_
        ->request(deps_.registry, std::chrono::seconds(5),
                  registration(v.name, *v.weights, v.source))
        .then([this, v](const reply<record>& r) { initial_registered(v, r); },
              [this, v](const caf::error&) { s_.unregistered.push_back(v); });
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
    if (number != 0) install({v.name, number}, v.weights, v.source, [](const result<void>&) {});
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
