#include "actors/router.hpp"

#include <charconv>
#include <limits>

#include "actors/replies.hpp"
#include "coordinator/gate.hpp"

namespace collm::actors {

namespace {

using self_ptr = node_router_actor::stateful_pointer<router_state>;

class switchboard {
 public:
  switchboard(self_ptr self, router_deps deps)
      : self_(self), state_(self->state), deps_(std::move(deps)) {}

  void route(const msg<schema::Request>& request, const sink_actor& sink) {
    const auto r = request.read();
    if (state_.draining) {
      refuse(*r, sink, {errc::draining, deps_.node + " is draining; ask another node", 5000});
      return;
    }
    const auto version =
        resolve(std::string(r->getModel().cStr(), r->getModel().size()), r->getId());
    if (!version) {
      refuse(*r, sink, version.failure());
      return;
    }
    auto* best = choose(r->getPrompt().size());
    if (best == nullptr) {
      refuse(*r, sink, {errc::unavailable, no_replica(), 1000});
      return;
    }
    best->sent_tokens += r->getPrompt().size();
    self_->send(best->actor, request, *version, sink);
  }

  void cancel(request_id id, const sink_actor& sink) {
    for (const auto& t : state_.replicas) self_->send(t.actor, cancel_atom::value, id, sink);
  }

  void version_changed(const msg<schema::VersionRecord>& record) {
    const auto r = record.read();
    const version_id id{r->getAdapter().cStr(), r->getNumber()};
    switch (r->getState()) {
      case schema::VersionState::SERVING:
        state_.serving[id.name] = id.number;
        state_.versions[id] = record;
        forget_canary(id);
        break;
      case schema::VersionState::CANARY:
        state_.versions[id] = record;
        state_.canaries[id.name] = id.number;
        break;
      case schema::VersionState::DRAINING:
        state_.versions[id] = record;
        if (!state_.serving.contains(id.name)) state_.serving[id.name] = id.number;
        break;
      default:
        state_.versions.erase(id);
        forget_canary(id);
        if (auto at = state_.serving.find(id.name);
            at != state_.serving.end() && at->second == id.number) {
          state_.serving.erase(at);
        }
    }
  }

  void report(const replica_report_ptr& r) {
    for (auto& t : state_.replicas) {
      if (t.name != r->replica) continue;
      t.last = r;
      t.sent_tokens = 0;
    }
  }

  void add(const add_replica& r) {
    if (r.only_trains) return state_.set_apart.push_back(r.name);
    state_.replicas.push_back({r.name, r.actor, nullptr, 0});
  }
  void drain() { state_.draining = true; }

  msg<schema::VersionList> list() const {
    return msg<schema::VersionList>::build([&](schema::VersionList::Builder b) {
      auto rows = b.initVersions(static_cast<std::uint32_t>(state_.versions.size()));
      std::uint32_t i = 0;
      for (const auto& [id, record] : state_.versions) rows.setWithCaveats(i++, *record.read());
    });
  }

 private:
  void forget_canary(const version_id& id) {
    const auto at = state_.canaries.find(id.name);
    if (at != state_.canaries.end() && at->second == id.number) state_.canaries.erase(at);
  }

  /// What the bare name means to this request: the same each time it asks.
  version_id by_name(const std::string& name, std::uint32_t serving, request_id request) const {
    const auto canary = state_.canaries.find(name);
    const auto share = deps_.canary_shares.find(name);
    const bool takes = canary != state_.canaries.end() && share != deps_.canary_shares.end() &&
                       coordinator::canary_takes(request, canary->second, share->second);
    return {name, takes ? canary->second : serving};
  }

  result<version_id> resolve(const std::string& model, request_id request) const {
    if (model.empty() || model == deps_.base_name) {
      if (model.empty() && state_.serving.size() == 1) {
        const auto& [name, number] = *state_.serving.begin();
        return by_name(name, number, request);
      }
      return version_id{};
    }
    auto parsed = parse_model_name(model);
    if (!parsed) return parsed.failure();
    version_id id{parsed->adapter, parsed->number};
    if (id.number == model_name::none) {
      const auto at = state_.serving.find(id.name);
      if (at == state_.serving.end()) return unknown(model);
      id = by_name(id.name, at->second, request);
    }
    if (!state_.versions.contains(id)) return unknown(model);
    return id;
  }

  std::string no_replica() const {
    return state_.set_apart.empty() ? deps_.node + " has no replica yet" : only_trains(deps_.node);
  }

  error unknown(const std::string& model) const {
    std::string known = deps_.base_name;
    for (const auto& [name, number] : state_.serving)
      known += ", " + name + " (= " + to_string(version_id{name, number}) + ")";
    return {errc::not_found, "model '" + model + "' does not exist here; known: " + known};
  }

  router_state::target* choose(std::uint32_t prompt_tokens) {
    router_state::target* best = nullptr;
    double least = std::numeric_limits<double>::infinity();
    for (auto& t : state_.replicas) {
      const double ttft = ttft_ms(t, prompt_tokens);
      if (ttft < least) {
        least = ttft;
        best = &t;
      }
    }
    return best;
  }

  /// To compare replicas by: what its engine has at the price of that, the rest as short prompts.
  static double ttft_ms(const router_state::target& t, double prompt_tokens) {
    if (!t.last) return t.sent_tokens;
    const auto& r = *t.last;
    const double in_engine = r.prefill.backlog().tokens;
    const double others = r.backlog_tokens - in_engine + t.sent_tokens;
    const double of_short = r.prefill_tokens_per_ms, own = r.prefill.pace.beside;
    if (of_short <= 0) return r.step_ms_mean + in_engine + others;
    return r.step_ms_mean + in_engine / (own > 0 ? own : of_short) +
           (others + prompt_tokens) / of_short;
  }

  void refuse(const schema::Request::Reader& r, const sink_actor& sink, const error& why) {
    self_->send(sink, reject_message(r.getId(), why));
  }

  self_ptr self_;
  router_state& state_;
  router_deps deps_;
};

}  // namespace

std::string only_trains(const std::string& node) {
  return node + " only trains (policy static_split); another node of its site answers";
}

result<model_name> parse_model_name(const std::string& text) {
  const auto at = text.rfind('@');
  if (at == std::string::npos) return model_name{text, model_name::none};
  model_name out{text.substr(0, at), 0};
  const char* end = text.data() + text.size();
  const auto [stop, ec] = std::from_chars(text.data() + at + 1, end, out.number);
  if (ec != std::errc() || stop != end || out.adapter.empty() || out.number == model_name::none) {
    return error{errc::bad_request, "model '" + text + "' is not name or name@number"};
  }
  return out;
}

node_router_actor::behavior_type router_behavior(self_ptr self, router_deps deps) {
  auto counts = deps.counts;
  watch(self, counts);
  auto d = std::make_shared<switchboard>(self, std::move(deps));
  const auto m = metered(self, counts);
  return {
      m([d](const msg<schema::Request>& r, const sink_actor& s) { d->route(r, s); }),
      m([d](cancel_atom, request_id id, const sink_actor& s) { d->cancel(id, s); }),
      m([d](const msg<schema::VersionRecord>& r) { d->version_changed(r); }),
      m([d](const replica_report_ptr& r) { d->report(r); }),
      m([d](list_atom) { return d->list(); }),
      m([d](drain_atom) { d->drain(); }),
      m([counts](status_atom) { return counts->status(); }),
      m([d](const add_replica& r) { d->add(r); }),
  };
}

}  // namespace collm::actors
