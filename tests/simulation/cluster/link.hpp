// The link of LINK.md law 8 on virtual time: what link/ does over Cap'n Proto RPC, done by closures
// that travel for a seeded while, in order, until the connection is cut. Same rules: calls in
// flight fail when it ends, requests end once, tokens go with 16 unanswered calls and 1,024 tokens
// buffered, silence ends a connection, a node joins again with back-off.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "actors/interfaces.hpp"
#include "tests/simulation/cluster/world.hpp"

namespace collm::simulation {

enum class side { node = 0, head = 1 };
inline side other(side s) { return s == side::node ? side::head : side::node; }

/// What a call can reach in a head's process.
struct head_ends {
  process_ptr proc;
  caf::actor courier;
  actors::supervisor_actor supervisor;
  actors::registry_actor registry;
  actors::aggregator_actor aggregator;
};
/// ... and in a node's.
struct node_ends {
  process_ptr proc;
  caf::actor courier;
  actors::router_actor router;
  actors::node_actor node;
  actors::telemetry_actor telemetry;
};

/// How a node's way to the head is at present; set by the plan.
struct weather {
  microseconds least{200}, most{3000};
  bool reachable = true;  ///< false: new connections fail, and what is sent waits
  std::vector<std::function<void()>> waiting = {};

  void clear_up() {
    reachable = true;
    for (const auto& arrives : std::exchange(waiting, {})) arrives();
  }
};

using stream_event = std::variant<msg<schema::Accepted>, msg<schema::TokenChunk>,
                                  msg<schema::Finish>, msg<schema::Reject>>;

class connection : public std::enable_shared_from_this<connection> {
 public:
  connection(world& in, std::shared_ptr<weather> sky, node_ends node, head_ends head,
             std::string name)
      : node(std::move(node)),
        head(std::move(head)),
        name(std::move(name)),
        in_(in),
        sky_(std::move(sky)) {}
  connection(const connection&) = delete;

  /// Carries `f` to that side; it is done there, after all that was sent before, unless the
  /// connection ends or that process dies.
  void post(side to, std::function<void()> f);
  /// The connection is gone: each side that can be reached hears of it within milliseconds.
  void cut(const std::string& why);
  /// One side gives it up at once, as after silence; the other hears of it like of any end.
  void give_up(side by, const std::string& why);
  bool open_at(side s) const { return !over_[at(s)]; }

  /// Asks `target` at the other end for an R, to be answered by `owner` of this end, in its turn.
  template <class R, class Proxy, class Target, class... Q>
  void ask(side from, const Proxy& owner, caf::typed_response_promise<R> promise,
           std::function<R(const error&)> failed, const Target& target, Q... q);

  // -- the head's requests on this node
  void generate(const msg<schema::Request>& request, const actors::sink_actor& sink);
  void cancel(request_id id, const actors::sink_actor& sink);

  node_ends node;
  head_ends head;
  const std::string name;
  std::uint64_t incarnation = 0;
  std::uint64_t received[2] = {0, 0};  ///< by the node's side, by the head's
  bool joined = false;
  std::function<void(const std::string&)> on_head_lost;

  static constexpr std::uint32_t unanswered_max = 16, buffered_max = 1024;

 private:
  struct stream;
  using stream_ptr = std::shared_ptr<stream>;
  using key = std::pair<request_id, caf::actor_id>;
  static std::size_t at(side s) { return static_cast<std::size_t>(s); }
  process& proc(side s) const { return s == side::node ? *node.proc : *head.proc; }
  const caf::actor& courier(side s) const { return s == side::node ? node.courier : head.courier; }
  void arrive(side to, const std::function<void()>& f);
  void end(side s, const std::string& why);
  void serve(const stream_ptr& s, const msg<schema::Request>& request);
  void push(const stream_ptr& s, stream_event e);
  void pump(const stream_ptr& s);
  void deliver(const stream_ptr& s, const stream_event& e);
  void finish(const stream_ptr& s);
  static void fail(const stream_ptr& s, const error& why);
  void drop(const stream_ptr& s);
  static void tell(const stream_ptr& s, const stream_event& e);

  world& in_;
  std::shared_ptr<weather> sky_;
  bool over_[2] = {false, false}, cut_ = false;
  instant last_[2] = {};
  std::uint64_t next_call_ = 1;
  std::map<std::uint64_t, std::function<void(const error&)>> open_[2];
  std::map<key, stream_ptr> streams_;  ///< as the head's side holds them
  std::deque<stream_ptr> served_;      ///< as the node's side does
};
using connection_ptr = std::shared_ptr<connection>;

/// Where a node's stand-ins find their connection.
struct way_to_head {
  connection_ptr now;
  std::function<void(const schema::UpdateChunk::Reader&)> on_update = {};  ///< sees each chunk
  /// The last call once more, without waiting for its answer: who asks again after a connection
  /// that broke may have been heard the first time.
  std::function<void(connection&)> again = {};
};

/// What a node has in the head's place.
struct stand_ins {
  actors::registry_actor registry;
  actors::aggregator_actor aggregator;
};
stand_ins spawn_stand_ins(process& in, const std::shared_ptr<way_to_head>& way);

caf::actor spawn_courier(process& in);

/// Accepts nodes, and gives up those that are silent. In the head's process.
class head_gate {
 public:
  head_gate(world& in, head_ends ends);
  /// A node's hello, carried here by `by`.
  void join(const connection_ptr& by, const msg<schema::Hello>& hello);
  caf::actor actor;

 private:
  void watch();
  world& in_;
  head_ends ends_;
  struct peer {
    connection_ptr by;
    std::uint64_t heard = 0;
    std::uint32_t silent_ms = 0;
  };
  std::map<std::string, peer> peers_;
  std::map<std::string, std::uint64_t> incarnations_;
};

/// Keeps a node's connection: joins, beats, and after any failure backs off and joins again. In the
/// node's process.
class node_link {
 public:
  struct options {
    std::string name, site;
    std::uint64_t incarnation = 0;
    std::int32_t pid = 0;
    std::shared_ptr<weather> sky;
    /// The head that listens now; null: none does.
    std::function<head_gate*()> listener;
    std::function<const head_ends*()> head;
  };
  node_link(world& in, node_ends ends, std::shared_ptr<way_to_head> way, options o);

 private:
  void tick(caf::event_based_actor* self);
  void connect();
  void beat(caf::event_based_actor* self);
  world& in_;
  node_ends ends_;
  std::shared_ptr<way_to_head> way_;
  options o_;
  double retry_at_ms_ = 0, back_off_ms_ = 200, beat_at_ms_ = 0, heard_at_ms_ = 0;
  std::uint64_t heard_ = 0;
  connection_ptr greeted_;  ///< on which it has joined
};

inline constexpr double lost_after_ms = 2000, beat_every_ms = 1000;

template <class R, class Proxy, class Target, class... Q>
void connection::ask(side from, const Proxy& owner, caf::typed_response_promise<R> promise,
                     std::function<R(const error&)> failed, const Target& target, Q... q) {
  const auto tell = [owner, promise](const R& r) {
    caf::anon_send(owner, task_of([promise, r] {
                     auto once = promise;  // deliver() uses a promise up
                     once.deliver(r);
                   }));
  };
  if (over_[at(from)]) return tell(failed({errc::unavailable, "the link is down"}));
  const auto id = next_call_++;
  open_[at(from)][id] = [tell, failed](const error& e) { tell(failed(e)); };
  const auto answer = [self = shared_from_this(), from, id, tell](const R& r) {
    self->post(from, [self, from, id, tell, r] {
      if (self->open_[at(from)].erase(id) > 0) tell(r);
    });
  };
  const auto asks = [=](caf::event_based_actor* courier) {
    courier->request(target, caf::infinite, q...)
        .then([answer](const R& r) { answer(r); },
              [answer, failed](const caf::error&) {
                answer(failed({errc::unavailable, "the actor asked has ended"}));
              });
  };
  post(other(from), [to = courier(other(from)), asks] {
    caf::anon_send(
        to, errand{std::make_shared<const std::function<void(caf::event_based_actor*)>>(asks)});
  });
}

}  // namespace collm::simulation
