#include "actors/version_keeper.hpp"

#include <algorithm>
#include <filesystem>

#include "actors/replies.hpp"
#include "actors/round_messages.hpp"
#include "coordinator/following.hpp"
#include "engine/adapter/adapter.hpp"

namespace collm::actors {

namespace {

using record = msg<schema::VersionRecord>;
constexpr std::string_view peft_prefix = "peft:";

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

void nobody_waits(const result<void>&) {}

bool holds(const std::vector<version_id>& list, const version_id& id) {
  return std::find(list.begin(), list.end(), id) != list.end();
}

/// What is missing where the registry has a version in this state.
std::string wanted_as(schema::VersionState as) {
  return as == schema::VersionState::CANARY ? "a canary by the registry and not here: "
                                            : "serves by the registry and not here: ";
}

reply<record> no_registry() {
  return make_reply<record>(error{
      errc::unavailable,
      "the registry at the head did not answer; versions are numbered and retired there", 2000});
}

}  // namespace

version_keeper::version_keeper(self_ptr self, node_deps deps, std::vector<initial_version> initial)
    : self_(self),
      s_(self->state),
      deps_(std::move(deps)),
      fetch_(self, deps_),
      kept_(deps_, [this](const char* kind, const std::string& why) {
        event(schema::EventLevel::WARNING, kind, why);
      }) {
  for (const auto& v : initial)
    if (v.make) s_.makers[v.weights->digest] = v.make;
  const auto resumed = resume(initial);
  for (const auto& v : initial)
    if (!resumed.contains(v.name)) install(v, 0, nobody_waits);
  s_.unregistered = std::move(initial);
}

caf::result<reply<version_keeper::record>> version_keeper::load(const std::string& name,
                                                                const std::string& folder) {
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

caf::result<reply<version_keeper::record>> version_keeper::unload(const std::string& name) {
  auto promise = self_->make_response_promise<reply<record>>();
  self_->request(deps_.registry, std::chrono::seconds(5), unload_atom::value, name)
      .then(
          [this, promise](const reply<record>& r) mutable {
            if (*r) withdraw({(**r).read()->getAdapter().cStr(), (**r).read()->getNumber()});
            promise.deliver(r);
          },
          [promise](const caf::error&) mutable { promise.deliver(no_registry()); });
  return promise;
}

caf::result<reply<engine::adapter_ptr>> version_keeper::fetch(const version_id& id,
                                                              const std::string& digest) {
  const auto here = std::find_if(s_.versions.begin(), s_.versions.end(),
                                 [&](const auto& v) { return v.second.weights->digest == digest; });
  if (here != s_.versions.end()) return make_reply<engine::adapter_ptr>(here->second.weights);
  if (const auto at = s_.makers.find(digest); at != s_.makers.end())
    return make_reply<engine::adapter_ptr>(at->second());
  auto promise = self_->make_response_promise<reply<engine::adapter_ptr>>();
  fetch_.get(id, digest, [promise](const result<engine::adapter_ptr>& r) mutable {
    promise.deliver(make_reply<engine::adapter_ptr>(r));
  });
  return promise;
}

void version_keeper::withdraw(const version_id& id) {
  const auto at = s_.versions.find(id);
  if (at == s_.versions.end()) return;
  const auto now = at->second.state;
  if (now == schema::VersionState::SERVING || now == schema::VersionState::CANARY) retire(id);
}

bool version_keeper::serves(const std::string& name, const std::string& digest) const {
  return std::any_of(s_.versions.begin(), s_.versions.end(), [&](const auto& v) {
    return v.first.name == name && v.second.weights->digest == digest &&
           v.second.state == schema::VersionState::SERVING;
  });
}

/// A version of this name serves, or is about to.
bool version_keeper::is_served(const std::string& name) const {
  return std::any_of(s_.versions.begin(), s_.versions.end(),
                     [&](const auto& v) {
                       return v.first.name == name &&
                              v.second.state == schema::VersionState::SERVING;
                     }) ||
         std::any_of(s_.installing.begin(), s_.installing.end(),
                     [&](const auto& i) { return i.first.name == name; });
}

std::ptrdiff_t version_keeper::resident(const std::string& name) const {
  return std::count_if(s_.versions.begin(), s_.versions.end(),
                       [&](const auto& v) { return v.first.name == name; });
}

error version_keeper::too_many(const std::string& name) const {
  return {errc::overloaded,
          "'" + name + "' has " + std::to_string(resident(name)) +
              " versions in memory, held by running requests; try again",
          1000};
}

msg<schema::Register> registration(const initial_version& v, const std::string& node,
                                   const std::string& base_digest, bool at_start) {
  return msg<schema::Register>::build([&](schema::Register::Builder b) {
    b.setAdapter(v.name);
    b.setDigest(v.weights->digest);
    b.setRank(v.weights->rank_max);
    b.setBytes(v.weights->bytes);
    b.setSource(v.source);
    b.setFolder(v.folder);
    b.setNode(node);
    b.setBaseDigest(base_digest);
    b.setAtStart(at_start);
  });
}

void version_keeper::registered(record_promise& promise, const reply<record>& r,
                                const initial_version& v) {
  if (!*r) {
    promise.deliver(r);
    return;
  }
  install(v, (**r).read()->getNumber(), [promise, answer = **r](const result<void>& done) mutable {
    promise.deliver(done ? make_reply<record>(with_state(answer, schema::VersionState::SERVING))
                         : make_reply<record>(done.failure()));
  });
}

void version_keeper::install(const initial_version& v, std::uint32_t number,
                             node_state::installed then) {
  install({v.name, number}, v.weights, {v.source, v.folder}, std::move(then));
}

/// Loads on every replica, then routes new requests to it, then lets the version that served
/// drain.
void version_keeper::install(const version_id& id, const engine::adapter_ptr& weights,
                             const origin& from, node_state::installed then,
                             schema::VersionState as) {
  if (const auto at = s_.versions.find(id); at != s_.versions.end() && at->second.state == as &&
                                            at->second.weights->digest == weights->digest) {
    return then({});
  }
  auto& waiting = s_.installing[id];
  waiting.push_back(std::move(then));
  if (waiting.size() > 1) return;  // asked for twice: by an operator and by the registry's list
  auto left = std::make_shared<std::size_t>(deps_.replicas.size());
  auto failed = std::make_shared<std::optional<error>>();
  const auto one_done = [this, id, weights, from, left, failed, as](const result<void>& r) {
    if (!r) *failed = r.failure();
    if (--*left > 0) return;
    if (*failed) {
      fail(id, "version_failed", (*failed)->message, deps_.retry);
    } else {
      offer(id, weights, from, as);
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

void version_keeper::tell(const record& r) {
  self_->send(deps_.router, r);
  self_->send(deps_.telemetry, r);
}

/// A canary answers beside what serves; what serves takes its place.
void version_keeper::offer(const version_id& id, const engine::adapter_ptr& weights,
                           const origin& from, schema::VersionState as) {
  const bool serves = as == schema::VersionState::SERVING;
  std::vector<version_id> before;
  for (const auto& [other, resident] : s_.versions) {
    if (other.name == id.name && other != id && resident.state == as) before.push_back(other);
  }
  s_.versions[id] = {weights, as, from.source, from.folder};
  s_.failed.erase(id);
  if (serves) kept_.changed();
  tell(local_record(id, *weights, from.source, as));
  for (const auto& old : before) retire(old);
  event(schema::EventLevel::INFO, serves ? "version_serving" : "canary_answers",
        to_string(id) + " (" + from.source + ")");
}

void version_keeper::retire(const version_id& id) {
  auto& resident = s_.versions.at(id);
  if (resident.state == schema::VersionState::SERVING) kept_.changed();
  resident.state = schema::VersionState::DRAINING;
  tell(local_record(id, *resident.weights, "", schema::VersionState::RETIRED));
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

void version_keeper::register_initial() {
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

void version_keeper::initial_registered(const initial_version& v, const reply<record>& r) {
  if (!*r) {
    if ((*r).failure().code == errc::unavailable) {
      s_.unregistered.push_back(v);  // the head is away: the site serves meanwhile
    } else {
      event(schema::EventLevel::ERROR, "version_failed", v.name + "@0: " + (*r).failure().message);
    }
    return;
  }
  const auto known = (**r).read();
  // The manifest names other factors than those that were @0 once: they get their own number, and
  // serve unless a later one took their place.
  if (known->getNumber() != 0 && known->getState() == schema::VersionState::SERVING)
    install(v, known->getNumber(), nobody_waits);
}

/// The head may know versions that were loaded while this process was not there, or withdrawn.
void version_keeper::ask_registry() {
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

void version_keeper::follow(const msg<schema::VersionList>& list) {
  kept_.heard_registry();
  const auto l = list.read();
  std::vector<coordinator::known_version> here;
  for (const auto& [id, v] : s_.versions)
    here.push_back({id, v.weights->digest, v.state == schema::VersionState::SERVING,
                    v.state == schema::VersionState::CANARY});
  const auto steps = coordinator::follow(registered_versions(*l), here);
  std::erase_if(s_.failed, [&](const auto& f) {
    return !holds(steps.load, f.first) && !holds(steps.try_out, f.first);
  });
  for (const auto& id : steps.retire) withdraw(id);
  for (const auto& id : steps.give_up) withdraw(id);
  withdraw_unknown(*l);
  for (const auto v : l->getVersions()) {
    const version_id id{v.getAdapter().cStr(), v.getNumber()};
    if (holds(steps.load, id)) bring(id, v, schema::VersionState::SERVING);
    if (holds(steps.try_out, id)) bring(id, v, schema::VersionState::CANARY);
  }
}

void version_keeper::bring(const version_id& id, const schema::VersionRecord::Reader& wanted,
                           schema::VersionState as) {
  const auto before = s_.failed.find(id);
  const bool waits = before != s_.failed.end() && now_ms(self_) < before->second.retry_at_ms;
  if (waits || s_.installing.contains(id)) return;
  const auto resident = s_.versions.find(id);
  const bool in_memory = resident != s_.versions.end() &&
                         resident->second.weights->digest == wanted.getDigest().cStr();
  if (in_memory)  // a canary, or one that still drains: it needs no more room
    return install(id, resident->second.weights,
                   {wanted.getSource().cStr(), wanted.getFolder().cStr()}, nobody_waits, as);
  const bool room = !full(id.name);
  const origin from{wanted.getSource().cStr(), wanted.getFolder().cStr()};
  const std::string digest = wanted.getDigest().cStr();
  if (room && made_by_round(from.source)) {
    s_.installing[id];  // a second list meanwhile must not ask again
    return fetch_.get(id, digest, [this, id, from, as](const result<engine::adapter_ptr>& r) {
      s_.installing.erase(id);
      if (r) return install(id, *r, from, nobody_waits, as);
      fail(id, "version_missing", wanted_as(as) + r.failure().message, deps_.retry);
    });
  }
  const auto weights = room ? factors_of(wanted) : too_many(id.name);
  if (weights) return install(id, *weights, from, nobody_waits, as);
  fail(id, "version_missing", wanted_as(as) + weights.failure().message,
       room ? deps_.retry : std::chrono::milliseconds(0));
}

/// Told once a reason.
void version_keeper::fail(const version_id& id, const char* kind, const std::string& why,
                          std::chrono::milliseconds wait) {
  auto& known = s_.failed[id];
  if (known.reason != why) event(schema::EventLevel::ERROR, kind, to_string(id) + ": " + why);
  known = {why, now_ms(self_) + static_cast<double>(wait.count())};
}

/// What a record names, unchanged: made as the manifest says, or read from its folder.
result<engine::adapter_ptr> version_keeper::factors_of(
    const schema::VersionRecord::Reader& wanted) const {
  const std::string digest = wanted.getDigest().cStr(), folder = wanted.getFolder().cStr();
  if (const auto at = s_.makers.find(digest); at != s_.makers.end()) return at->second();
  if (folder.empty()) {
    const bool was_read = std::string_view(wanted.getSource().cStr()).starts_with(peft_prefix);
    return error{errc::not_found,
                 was_read ? "an older release registered it and kept no folder; load it again"
                          : "it was made from a manifest that this node does not have; "
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

void version_keeper::event(schema::EventLevel level, const char* kind, const std::string& text) {
  self_->send(deps_.telemetry, event_message(level, deps_.node, kind, text));
}

void version_keeper::follow_registry() {
  register_initial();
  ask_registry();
  kept_.keep(s_.versions);
}

/// What served in the process before, or what the manifest has in its place where no replica can
/// load that. Names of the adapters that are resumed.
std::set<std::string> version_keeper::resume(const std::vector<initial_version>& initial) {
  std::set<std::string> names;
  const auto list = kept_.list();
  const auto served = list.read();
  for (const auto v : served->getVersions()) {
    const version_id id{v.getAdapter().cStr(), v.getNumber()};
    const auto weights = kept_factors(v);
    if (!weights) {
      kept_.not_resumed(to_string(id) + ": " + weights.failure().message);
      continue;
    }
    names.insert(id.name);
    s_.resumed.insert(id);
    kept_.resuming();
    const auto of_manifest = std::find_if(initial.begin(), initial.end(),
                                          [&](const auto& i) { return i.name == id.name; });
    const auto instead = of_manifest == initial.end() ? std::nullopt : std::optional(*of_manifest);
    const auto done = [this, instead](const result<void>& r) {
      if (r) return kept_.resumed();
      kept_.not_loaded();
      if (instead && !is_served(instead->name)) install(*instead, 0, nobody_waits);
    };
    install(id, *weights, {v.getSource().cStr(), v.getFolder().cStr()}, done);
  }
  return names;
}

result<engine::adapter_ptr> version_keeper::kept_factors(
    const schema::VersionRecord::Reader& served) {
  if (!made_by_round(served.getSource().cStr())) return factors_of(served);
  const std::string digest = served.getDigest().cStr();
  const auto bytes = kept_.factors(digest);
  if (!bytes) return bytes.failure();
  auto made = fetch_.version_of(served.getAdapter().cStr(), digest, *bytes);
  if (made || made.failure().code == errc::not_found) return made;
  kept_.unfit(digest);  // damaged, or of another rank in the manifest
  return made;
}

/// Resumed versions that the registry never heard of, as it was restored or is another cluster's:
/// nobody could unload them. One that loads still is looked at again with the next list.
void version_keeper::withdraw_unknown(const schema::VersionList::Reader& list) {
  std::erase_if(s_.resumed, [&](const version_id& id) {
    bool registered = false, replaced = false;
    for (const auto v : list.getVersions()) {
      if (id.name != v.getAdapter().cStr()) continue;
      registered |= v.getNumber() == id.number;
      replaced |= v.getState() == schema::VersionState::SERVING;
    }
    const bool here = s_.versions.contains(id);
    if (here && !registered && !replaced) withdraw(id);
    return registered || (!here && !s_.installing.contains(id));
  });
}

std::string peft_source(const std::string& folder) {
  return std::string(peft_prefix) + std::filesystem::path(folder).filename().string();
}

}  // namespace collm::actors
