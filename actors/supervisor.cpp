#include "actors/supervisor.hpp"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "actors/cluster_adapters.hpp"
#include "actors/replies.hpp"

namespace collm::actors {

namespace {

using self_ptr = head_supervisor_actor::stateful_pointer<supervisor_state>;
using member = supervisor_state::member;

// Who connects to the gateway of a node that is away waits for the next process, if it comes so
// soon; else they had better be refused and ask elsewhere.
constexpr double patience_ms = 2000;

std::int64_t machine_time() {
  using namespace std::chrono;
  return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
}

class warden {
 public:
  warden(self_ptr self, supervisor_deps deps)
      : self_(self), s_(self->state), deps_(std::move(deps)) {
    s_.begun_ms = now_ms(self_);
    // Incarnations rise over restarts of the head, too: wall-clock seconds are enough and need no
    // file.
    s_.incarnation_base =
        static_cast<std::uint64_t>(deps_.unix_time ? deps_.unix_time() : machine_time()) << 16;
    for (const auto& plan : deps_.nodes) {
      auto& m = s_.nodes[plan.name];
      m.plan = plan;
      m.wait_ms = deps_.back_off_ms;
      if (plan.process) start(m);
      if (plan.remote) {
        m.state = schema::NodeState::LOST;
        m.reason = "has not joined since this head started";
      }
    }
  }

  void joined(const msg<schema::Hello>& hello, const router_actor& router,
              const node_actor& control) {
    const auto h = hello.read();
    const auto at = s_.nodes.find(h->getName().cStr());
    if (at == s_.nodes.end())
      return;  // the link checked the certificate; a name outside the plan gets no work
    auto& m = at->second;
    // Of nodes elsewhere the link knows which is the newest, and forgets it when one is revoked.
    if (!m.plan.remote && h->getIncarnation() < m.incarnation) return;
    if (h->getIncarnation() != m.incarnation) m.snapshot = {};  // it was of another process
    m.incarnation = h->getIncarnation();
    m.pid = static_cast<std::int32_t>(h->getPid());
    m.router = router;
    m.control = control;
    m.joined_ms = m.last_beat_ms = now_ms(self_);
    m.state = stopping_ || drains(m) ? schema::NodeState::DRAINING : schema::NodeState::STARTING;
    m.comparing = false;
    event(schema::EventLevel::INFO, m, "node_joined", "pid " + std::to_string(m.pid));
    compare(m);
  }

  void left(const std::string& name, std::uint64_t incarnation, const std::string& reason) {
    const auto at = s_.nodes.find(name);
    if (at == s_.nodes.end() || at->second.incarnation != incarnation) return;
    // While the cluster stops, a connection that ends is a node that has drained.
    auto& m = at->second;
    if (is_there(m) && !stopping_) lose(m, reason);
    disconnect(m);
    if (!m.plan.remote || m.state != schema::NodeState::DRAINING) return;
    m.state = schema::NodeState::STOPPED;  // nobody tells how a process elsewhere ended
    m.reason = "left after its drain";
    settle_drains(m, 0);
  }

  void beat(const std::string& name, std::uint64_t incarnation,
            const msg<schema::Snapshot>& snapshot) {
    const auto at = s_.nodes.find(name);
    if (at == s_.nodes.end() || at->second.incarnation != incarnation) return;
    auto& m = at->second;
    m.snapshot = snapshot;
    m.last_beat_ms = now_ms(self_);
    for (const auto& judge : deps_.traffic) self_->send(judge, snapshot);
    if (drains(m) && is_there(m)) {  // by itself: its process was told to end, or its cluster is
      m.state = schema::NodeState::DRAINING;
      self_->send(deps_.ingress, node_route{name, m.plan.site, {}});
      if (!stopping_) event(schema::EventLevel::INFO, m, "node_draining", "by itself");
    }
    if (m.last_beat_ms - m.joined_ms > deps_.stable_ms) m.wait_ms = deps_.back_off_ms;
    // The first report of a node that joined may be all that it waits for.
    if (m.router && m.state == schema::NodeState::STARTING) compare(m);
    tell_serving();
  }

  void exited(const child_exit& e) {
    const auto at = s_.nodes.find(e.node);
    if (at == s_.nodes.end() || at->second.pid != e.pid) return;
    auto& m = at->second;
    const auto how = how_it_ended(m, e.status);
    disconnect(m);
    settle_drains(m, e.status);
    if (m.again && !stopping_) return start_anew(m);
    if (m.state == schema::NodeState::DRAINING || stopping_) {
      m.state = schema::NodeState::STOPPED;
      m.reason = how;
      m.pid = 0;
      deps_.away(m.plan.name);
      event(schema::EventLevel::INFO, m, "node_stopped", m.reason);
      return;
    }
    if (m.state != schema::NodeState::LOST) lose(m, how);
    m.reason = how;
    m.pid = 0;
    m.state = schema::NodeState::RESTARTING;
    m.restart_at_ms = now_ms(self_) + m.wait_ms;
    if (m.wait_ms > patience_ms) deps_.away(m.plan.name);
    event(schema::EventLevel::WARNING, m, "node_restarting",
          m.reason + "; again in " + std::to_string(static_cast<int>(m.wait_ms)) + " ms");
    m.wait_ms = std::min(2 * m.wait_ms, deps_.back_off_max_ms);
  }

  void slot() {
    const double now = now_ms(self_);
    notice_own_absence(now);
    const bool hears = now >= s_.heard_again_by_ms;
    for (auto& [name, m] : s_.nodes) {
      const bool due = now - m.compared_ms >= deps_.compare_ms;
      if (m.router && (m.state == schema::NodeState::STARTING || due)) compare(m);
      if (!m.plan.process) {
        ask_local(m);
        continue;
      }
      if (stopping_) continue;  // no process is started or replaced any more
      if (m.state == schema::NodeState::RESTARTING && m.restart_at_ms >= 0 &&
          now >= m.restart_at_ms) {
        ++m.restarts;
        start(m);
      } else if (hears && is_there(m) && now - m.last_beat_ms > deps_.lost_after_ms) {
        lose(m, "no beat for " + std::to_string(static_cast<int>(now - m.last_beat_ms)) + " ms");
        disconnect(m);
      } else if (hears && m.state == schema::NodeState::STARTING && !m.router &&
                 now - m.started_ms > deps_.start_grace_ms) {
        lose(m, "did not join within " +
                    std::to_string(static_cast<int>(deps_.start_grace_ms / 1000)) + " s");
      }
      // A lost process that still exists is frozen or cut off: it is replaced, or two would serve
      // under one name.
      if (hears && m.state == schema::NodeState::LOST && m.pid > 0 &&
          now - m.restart_at_ms > deps_.lost_after_ms) {
        deps_.kill(m.pid);
        m.killed = true;
        m.restart_at_ms = now;
      }
    }
    tell_serving();
    refresh_versions();
    self_->delayed_send(self_, deps_.slot, slot_atom::value);
  }

  void tell_serving() {
    std::uint32_t answering = 0, own = 0;
    for (const auto& [name, m] : s_.nodes) {
      if (m.state != schema::NodeState::SERVING) continue;
      if (m.plan.answers) ++answering;
      if (!m.plan.remote) ++own;
    }
    deps_.on_serving(answering, own);
  }

  caf::result<msg<schema::ClusterStatus>> status() {
    auto promise = self_->make_response_promise<msg<schema::ClusterStatus>>();
    self_->request(deps_.telemetry, std::chrono::seconds(2), list_atom::value)
        .then(
            [this, promise](const msg<schema::Snapshot>& head) mutable {
              promise.deliver(cluster_status(s_, deps_, now_ms(self_), head));
            },
            [promise](caf::error& e) mutable { promise.deliver(std::move(e)); });
    return promise;
  }

  caf::result<reply<void>> drain(const std::string& name, bool again, std::uint32_t deadline_ms) {
    auto promise = self_->make_response_promise<reply<void>>();
    const auto at = s_.nodes.find(name);
    if (at != s_.nodes.end() && again && is_over(at->second)) {  // drained before
      start_anew(at->second);
      promise.deliver(make_reply<void>(result<void>()));
      return promise;
    }
    if (at != s_.nodes.end() && again && ends(at->second)) {  // its process is told of by its exit
      at->second.again = true;
      at->second.drains.push_back(promise);
      return promise;
    }
    if (at == s_.nodes.end() || !at->second.control) {
      promise.deliver(make_reply<void>(
          error{errc::not_found, "node '" + name + "' is not serving; nodes: " + names()}));
      return promise;
    }
    auto& m = at->second;
    if (again && !m.plan.process) {
      promise.deliver(make_reply<void>(
          error{errc::bad_request, "node '" + name +
                                       "' is no process of this head: it is started "
                                       "anew where it runs"}));
      return promise;
    }
    m.again = again;
    m.state = schema::NodeState::DRAINING;
    self_->send(deps_.ingress, node_route{name, m.plan.site, {}});
    event(schema::EventLevel::INFO, m, "node_draining", "asked by an admin");
    self_->request(m.control, caf::infinite, drain_atom::value, deadline_ms)
        .then(
            [this, promise, name, of = m.incarnation](const reply<void>& r) mutable {
              auto& ended = s_.nodes.at(name);
              // Its last answer may be lost with its connection: how it ends tells.
              const bool unheard = !*r && r->failure().code == errc::unavailable;
              const bool over = ended.incarnation != of ||
                                ended.state == schema::NodeState::RESTARTING ||
                                ended.state == schema::NodeState::STOPPED;
              const bool told_later = ended.plan.process && ended.pid > 0;
              const bool leaves = ended.plan.remote && ended.state == schema::NodeState::DRAINING;
              if (unheard && !over && (told_later || leaves))
                ended.drains.push_back(promise);
              else
                promise.deliver(unheard && over ? make_reply<void>(result<void>()) : r);
            },
            [promise](const caf::error&) mutable {
              promise.deliver(make_reply<void>(result<void>()));
            });
    return promise;
  }

  void attach(const std::string& name, const telemetry_actor& telemetry) {
    if (const auto at = s_.nodes.find(name); at != s_.nodes.end()) at->second.local = telemetry;
  }

  void stop() { stopping_ = true; }

  /// Of the nodes that serve now. Those elsewhere read no folder of this machine and follow the
  /// registry.
  std::vector<node_actor> controls() const {
    std::vector<node_actor> out;
    for (const auto& [name, m] : s_.nodes) {
      const bool serves = m.control && m.state == schema::NodeState::SERVING;
      if (serves && !m.plan.remote) out.push_back(m.control);
    }
    return out;
  }

 private:
  /// Joined and not known to be lost.
  static bool is_there(const member& m) {
    return m.state == schema::NodeState::SERVING ||
           (m.state == schema::NodeState::STARTING && m.router);
  }

  /// A head that was stopped, or whose machine slept, heard nobody: that is no silence of its
  /// nodes. They served on meanwhile, and get the time of a start to join again.
  void notice_own_absence(double now) {
    const double away = s_.last_slot_ms < 0 ? 0 : now - s_.last_slot_ms;
    s_.last_slot_ms = now;
    if (away <= deps_.lost_after_ms) return;
    s_.heard_again_by_ms = now + deps_.start_grace_ms;
    self_->send(deps_.telemetry,
                event_message(schema::EventLevel::WARNING, "head", "head_was_away",
                              "no turn for " + std::to_string(static_cast<long>(away)) +
                                  " ms; its nodes may join again"));
  }

  /// Asks the node what it can be asked for.
  void compare(member& m) {
    if (m.comparing) return;
    m.comparing = true;
    m.compared_ms = now_ms(self_);
    self_->request(m.router, std::chrono::seconds(2), list_atom::value)
        .then([this, name = m.plan.name,
               i = m.incarnation](const msg<schema::VersionList>& l) { compared(name, i, l); },
              [this, name = m.plan.name, i = m.incarnation](const caf::error&) {
                auto& there = s_.nodes.at(name);
                if (there.incarnation == i) there.comparing = false;
              });
  }

  void compared(const std::string& name, std::uint64_t incarnation,
                const msg<schema::VersionList>& here) {
    auto& m = s_.nodes.at(name);
    if (m.incarnation != incarnation || !m.router) return;
    m.comparing = false;
    const bool late = now_ms(self_) - m.joined_ms > deps_.catch_up_ms;
    const bool ready = (note_missing(m, here) || late) && shows_replica(m);
    if (m.state != schema::NodeState::STARTING || stopping_ || !ready) return;
    m.state = schema::NodeState::SERVING;
    tell_serving();
    if (m.plan.answers) self_->send(deps_.ingress, node_route{m.plan.name, m.plan.site, m.router});
  }

  /// Whether `m` serves what the registry says; not known before the registry has answered.
  bool note_missing(member& m, const msg<schema::VersionList>& here) const {
    m.missing.clear();
    if (s_.versions.empty()) return false;
    const auto registered = s_.versions.read();
    const auto served = here.read();
    const auto steps =
        coordinator::follow(registered_versions(*registered), registered_versions(*served));
    for (const auto& id : steps.load) m.missing.push_back(to_string(id));
    return steps.done();
  }

  /// A process of this head that has drained, left, and not ended yet.
  static bool ends(const member& m) {
    return m.plan.process && m.state == schema::NodeState::DRAINING && !m.control && m.pid > 0;
  }
  /// A process of this head that was drained and has ended.
  bool is_over(const member& m) const {
    return m.plan.process && m.state == schema::NodeState::STOPPED && !stopping_;
  }

  void start_anew(member& m) {
    m.again = false;
    m.pid = 0;
    m.state = schema::NodeState::RESTARTING;
    m.restart_at_ms = now_ms(self_);
    m.reason = "drained to be started anew";
    event(schema::EventLevel::INFO, m, "node_restarting", "asked by an admin");
  }

  /// Whoever ended it, as far as this head can know.
  std::string how_it_ended(const member& m, std::int32_t status) const {
    if (!WIFSIGNALED(status)) return "exited with code " + std::to_string(WEXITSTATUS(status));
    const bool killed = WTERMSIG(status) == SIGKILL;
    if (killed && m.killed) return "was killed by this head, as it stayed silent";
    return "was killed by signal " + std::to_string(WTERMSIG(status)) +
           (killed && !stopping_ ? ", as by hand or by the kernel where memory ends" : "");
  }

  void settle_drains(member& m, std::int32_t status) {
    const auto outcome = status == 0
                             ? result<void>()
                             : result<void>(error{errc::unavailable, "node '" + m.plan.name + "' " +
                                                                         how_it_ended(m, status)});
    for (auto& promise : m.drains) promise.deliver(make_reply<void>(outcome));
    m.drains.clear();
  }

  void start(member& m) {
    m.incarnation = ++s_.incarnation_base;
    m.started_ms = now_ms(self_);
    m.restart_at_ms = -1;
    m.killed = false;
    m.joined_ms = m.last_beat_ms = -1;
    m.snapshot = {};
    auto pid = deps_.launch(m.plan.name, m.incarnation);
    if (!pid && pid.failure().code == errc::draining) {  // the cluster stops: told to us next
      m.state = schema::NodeState::STOPPED;
      m.reason = pid.failure().message;
      return;
    }
    if (!pid) {
      m.state = schema::NodeState::RESTARTING;
      m.reason = pid.failure().message;
      deps_.away(m.plan.name);
      m.restart_at_ms = m.started_ms + m.wait_ms;
      m.wait_ms = std::min(2 * m.wait_ms, deps_.back_off_max_ms);
      event(schema::EventLevel::ERROR, m, "node_failed", m.reason);
      return;
    }
    m.pid = *pid;
    m.state = schema::NodeState::STARTING;
    event(schema::EventLevel::INFO, m, "node_starting", "pid " + std::to_string(m.pid));
  }

  void ask_local(const member& m) {
    if (!m.local) return;
    self_->request(m.local, std::chrono::seconds(1), list_atom::value)
        .then([this, name = m.plan.name,
               i = m.incarnation](const msg<schema::Snapshot>& s) { beat(name, i, s); },
              [](const caf::error&) {});  // beatAgeMs grows, which is what the status shows
  }

  /// Its report shows an engine that has begun.
  static bool shows_replica(const member& m) {
    return !m.snapshot.empty() && m.snapshot.read()->getReplicas().size() > 0;
  }

  /// Its last report says that it admits nothing more.
  static bool drains(const member& m) {
    return !m.snapshot.empty() && m.snapshot.read()->getDraining();
  }

  void lose(member& m, const std::string& reason) {
    m.state = schema::NodeState::LOST;
    m.reason = reason;
    m.restart_at_ms = now_ms(self_);
    event(schema::EventLevel::WARNING, m, "node_lost", reason);
  }

  void disconnect(member& m) {
    self_->send(deps_.ingress, node_route{m.plan.name, m.plan.site, {}});
    m.router = nullptr;
    m.control = nullptr;
    m.comparing = false;
    m.missing.clear();
  }

  void refresh_versions() {
    self_->request(deps_.registry, std::chrono::seconds(1), list_atom::value)
        .then(
            [this](const reply<msg<schema::VersionList>>& r) {
              if (*r) s_.versions = **r;
            },
            [](const caf::error&) {
            });  // the last list stands; the registry's own failure is an event
  }

  std::string names() const {
    std::string out;
    for (const auto& [name, m] : s_.nodes) out += (out.empty() ? "" : ", ") + name;
    return out;
  }

  void event(schema::EventLevel level, const member& m, const char* kind, const std::string& text) {
    self_->send(deps_.telemetry, event_message(level, m.plan.name, kind, text));
  }

  self_ptr self_;
  supervisor_state& s_;
  supervisor_deps deps_;
  bool stopping_ = false;
};

}  // namespace

head_supervisor_actor::behavior_type supervisor_behavior(self_ptr self, supervisor_deps deps) {
  auto counts = deps.counts;
  watch(self, counts);
  const auto registry = deps.registry;
  auto d = std::make_shared<warden>(self, std::move(deps));
  auto adapters = std::make_shared<cluster_adapters>(self, registry, [d] { return d->controls(); });
  const auto m = metered(self, counts);
  self->send(self, slot_atom::value);
  return {
      m([d](join_atom, const msg<schema::Hello>& h, const router_actor& r, const node_actor& n) {
        d->joined(h, r, n);
      }),
      m([d](leave_atom, const std::string& n, std::uint64_t i, const std::string& why) {
        d->left(n, i, why);
      }),
      m([d](beat_atom, const std::string& n, std::uint64_t i, const msg<schema::Snapshot>& s) {
        d->beat(n, i, s);
      }),
      m([d](const child_exit& e) { d->exited(e); }),
      m([d](slot_atom) { d->slot(); }),
      m([d](list_atom) { return d->status(); }),
      m([d](drain_atom, const std::string& n, bool again, std::uint32_t deadline_ms) {
        return d->drain(n, again, deadline_ms);
      }),
      m([adapters](load_atom, const std::string& n, const std::string& f) {
        return adapters->load(n, f);
      }),
      m([adapters](unload_atom, const std::string& n) { return adapters->unload(n); }),
      m([counts](status_atom) { return counts->status(); }),
      m([d](attach_atom, const std::string& n, const telemetry_actor& t) { d->attach(n, t); }),
      m([d](drain_atom) { d->stop(); }),
  };
}

}  // namespace collm::actors
