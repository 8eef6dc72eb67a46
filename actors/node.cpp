#include "actors/node.hpp"

#include <algorithm>
#include <utility>

#include "actors/replies.hpp"
#include "actors/version_keeper.hpp"

namespace collm::actors {

namespace {

using self_ptr = local_node_actor::stateful_pointer<node_state>;

// An engine that has a turn ends a request in one; after so long it has none.
constexpr double ended_within_ms = 5000;

/// Watches the engines and drains.
class host {
 public:
  host(self_ptr self, node_deps deps) : self_(self), s_(self->state), deps_(std::move(deps)) {}

  caf::result<reply<void>> drain(std::uint32_t deadline_ms) {
    auto promise = self_->make_response_promise<reply<void>>();
    self_->send(deps_.router, drain_atom::value);
    deps_.on_drain();
    self_->send(deps_.telemetry, event_message(schema::EventLevel::INFO, deps_.node, "draining",
                                               "refuses new requests"));
    s_.drains.push_back({promise, now_ms(self_) + deadline_ms});
    if (s_.drains.size() == 1) look();
    return promise;
  }

  /// While a drain waits: when what runs is over, and at each deadline.
  void look() {
    settle_drains();
    if (s_.drains.empty()) return;
    const double now = now_ms(self_);
    double next_ms = now + double(deps_.slot.count()) / 10;
    for (const auto& w : s_.drains)
      if (w.until_ms > now) next_ms = std::min(next_ms, w.until_ms);
    const auto wait = std::chrono::duration<double, std::milli>(next_ms - now);
    self_->delayed_send(self_, std::chrono::ceil<std::chrono::microseconds>(wait),
                        drain_atom::value);
  }

  void slot() {
    watch_engines();
    self_->delayed_send(self_, deps_.slot, slot_atom::value);
  }

 private:
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
    if (s_.drains.empty()) return;
    const auto running = deps_.requests_in_flight();
    const double now = now_ms(self_);
    const bool late = std::any_of(s_.drains.begin(), s_.drains.end(),
                                  [now](const auto& w) { return now >= w.until_ms; });
    if (running > 0 && late && !s_.ended) end_requests(running, now);
    const bool stuck = s_.ended && now >= s_.ended->at_ms + ended_within_ms;
    if (running > 0 && !stuck) return;
    for (auto& w : std::exchange(s_.drains, {})) w.promise.deliver(make_reply(drained(running)));
    deps_.on_drained();
  }

  /// Each gets its reason from whoever holds it: replica or engine.
  void end_requests(std::uint32_t running, double now) {
    s_.ended = {running, now};
    const auto why = deps_.node + " was drained: this request was still running at the deadline";
    for (const auto& r : deps_.replicas) self_->send(r, drain_atom::value, why);
    self_->send(deps_.telemetry,
                event_message(schema::EventLevel::WARNING, deps_.node, "drain_deadline",
                              std::to_string(running) + " requests were still running: ended"));
  }

  result<void> drained(std::uint32_t running) const {
    if (!s_.ended) return {};
    const auto of_them = running > 0 ? ", and " + std::to_string(running) + " do not end" : "";
    return error{errc::timeout, deps_.node + " is drained; " + std::to_string(s_.ended->requests) +
                                    " requests were still running at the deadline and were ended" +
                                    of_them};
  }

  self_ptr self_;
  node_state& s_;
  const node_deps deps_;
};

}  // namespace

local_node_actor::behavior_type node_behavior(self_ptr self, node_deps deps,
                                              std::vector<initial_version> initial) {
  auto counts = deps.counts;
  watch(self, counts);
  auto versions = std::make_shared<version_keeper>(self, deps, std::move(initial));
  auto d = std::make_shared<host>(self, std::move(deps));
  const auto m = metered(self, counts);
  self->send(self, slot_atom::value);
  return {
      m([versions](load_atom, const std::string& name, const std::string& folder) {
        return versions->load(name, folder);
      }),
      m([versions](unload_atom, const std::string& name) { return versions->unload(name); }),
      m([versions](fetch_atom, const version_id& id, const std::string& digest) {
        return versions->fetch(id, digest);
      }),
      m([versions](unload_atom, const version_id& id) {
        versions->withdraw(id);
        return make_reply<void>(result<void>());
      }),
      m([d](drain_atom, std::uint32_t deadline_ms) { return d->drain(deadline_ms); }),
      m([d](drain_atom) { d->look(); }),
      m([d, versions](slot_atom) {
        versions->follow_registry();
        d->slot();
      }),
      m([counts](status_atom) { return counts->status(); }),
  };
}

}  // namespace collm::actors
