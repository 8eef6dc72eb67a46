#include "tests/simulation/cluster/link.hpp"

#include <algorithm>

#include "actors/replies.hpp"
#include "messages/token_chunk.hpp"

namespace collm::simulation {

using actors::finish_message;
using actors::make_reply;
using actors::reject_message;
using actors::reply;

caf::actor spawn_courier(process& in) {
  return in.spawn([](caf::event_based_actor* self) -> caf::behavior {
    return {[self](const errand& e) { (*e.run)(self); }};
  });
}

// -- carrying

void connection::post(side to, std::function<void()> f) {
  if (over_[at(other(to))] || cut_ || !proc(other(to)).alive) return;
  auto& last = last_[at(to)];
  last = std::max(last, in_.now() + in_.draw(sky_->least, sky_->most));
  in_.later(last - in_.now(), [self = shared_from_this(), to, f = std::move(f)] {
    if (self->sky_->reachable) return self->arrive(to, f);
    // TCP sends it again until it is through, or until either side gives the connection up.
    self->sky_->waiting.push_back([self, to, f] { self->arrive(to, f); });
  });
}

void connection::arrive(side to, const std::function<void()>& f) {
  if (over_[at(other(to))]) return;
  proc(to).arrive([self = shared_from_this(), to, f] {
    if (self->cut_ || self->over_[at(to)] || !self->proc(to).alive) return;
    ++self->received[at(to)];
    f();
  });
}

void connection::cut(const std::string& why) {
  if (cut_) return;
  cut_ = true;
  for (const side s : {side::node, side::head})
    in_.later(in_.draw(microseconds(100), microseconds(5000)), [self = shared_from_this(), s, why] {
      if (self->sky_->reachable) self->end(s, why);
    });
}

void connection::give_up(side by, const std::string& why) {
  end(by, why);
  if (sky_->reachable) cut(why);
}

void connection::end(side s, const std::string& why) {
  if (std::exchange(over_[at(s)], true) || !proc(s).alive) return;
  in_.note(name + ": its link ends at the " + (s == side::node ? "node" : "head") + ": " + why);
  for (const auto& [id, failed] : std::exchange(open_[at(s)], {}))
    failed({errc::unavailable, "the link was lost: " + why});
  if (s == side::node) {
    for (const auto& each : std::exchange(served_, {})) drop(each);
  } else {
    for (const auto& [k, each] : std::exchange(streams_, {}))
      fail(each, {errc::unavailable, "node " + name + " was lost: " + why});
    if (on_head_lost) on_head_lost(why);
  }
}

// -- requests of the head on the node

struct connection::stream {
  request_id id = 0;
  actors::sink_actor sink;  ///< at the head
  bool accepted = false, over = false;

  // at the node
  caf::weak_actor_ptr node_sink;
  std::deque<stream_event> buffer;
  std::uint32_t unanswered = 0, weight = 0;
  bool was_accepted = false, source_ended = false, answered = false;
  std::optional<stream_event> last;
};

namespace {

struct last_word {
  std::function<void()> say;
  ~last_word() { say(); }
};

std::uint32_t weight_of(const stream_event& e) {
  const auto* chunk = std::get_if<msg<schema::TokenChunk>>(&e);
  return chunk ? collm::weight_of(*chunk) : 0;
}
bool ends(const stream_event& e) {
  return std::holds_alternative<msg<schema::Finish>>(e) ||
         std::holds_alternative<msg<schema::Reject>>(e);
}

}  // namespace

void connection::generate(const msg<schema::Request>& request, const actors::sink_actor& sink) {
  auto s = std::make_shared<stream>();
  s->id = request.read()->getId();
  s->sink = sink;
  if (over_[at(side::head)])
    return fail(s, {errc::unavailable, "node " + name + " is not connected"});
  if (!streams_.emplace(key{s->id, sink.id()}, s).second)
    return fail(s, {errc::conflict, "a request of this number is in flight already"});
  post(side::node, [self = shared_from_this(), s, request] { self->serve(s, request); });
}

void connection::cancel(request_id id, const actors::sink_actor& sink) {
  const auto found = streams_.find({id, sink.id()});
  if (found == streams_.end()) return;
  const auto s = found->second;
  streams_.erase(found);
  fail(s, {errc::cancelled, "cancelled"});
  post(side::node, [self = shared_from_this(), s] { self->drop(s); });
}

void connection::serve(const stream_ptr& s, const msg<schema::Request>& request) {
  served_.push_back(s);
  auto end = std::make_shared<last_word>();
  end->say = [self = shared_from_this(), s] {
    if (s->source_ended || !self->node.proc->alive) return;
    const error gone{errc::unavailable, "the actor that served the request has ended"};
    if (s->was_accepted)
      self->push(s, finish_message(s->id, schema::FinishReason::ERROR, gone.message));
    else
      self->push(s, reject_message(s->id, gone));
  };
  auto self = shared_from_this();
  auto sink = node.proc->own(actors::sink_actor(in_.system.get().spawn(
      [self, s, end](actors::sink_actor::pointer me) -> actors::sink_actor::behavior_type {
        return {[self, s, end](const msg<schema::Accepted>& m) { self->push(s, m); },
                [self, s, end](const msg<schema::TokenChunk>& m) { self->push(s, m); },
                [self, s, end, me](const msg<schema::Finish>& m) {
                  self->push(s, m);
                  me->quit();
                },
                [self, s, end, me](const msg<schema::Reject>& m) {
                  self->push(s, m);
                  me->quit();
                }};
      })));
  s->node_sink = caf::actor_cast<caf::weak_actor_ptr>(sink);
  caf::anon_send(node.router, request, sink);
}

void connection::push(const stream_ptr& s, stream_event e) {
  if (s->source_ended) return;
  if (std::holds_alternative<msg<schema::Accepted>>(e)) s->was_accepted = true;
  if (s->weight + weight_of(e) > buffered_max) {
    auto slow = finish_message(s->id, schema::FinishReason::SLOW_READER, "the buffer is full");
    s->buffer.clear();
    s->buffer.emplace_back(std::move(slow));
    drop(s);
  } else {
    s->source_ended = ends(e);
    s->weight += weight_of(e);
    s->buffer.push_back(std::move(e));
  }
  pump(s);
}

void connection::pump(const stream_ptr& s) {
  const auto self = shared_from_this();
  while (s->unanswered < unanswered_max && !s->buffer.empty() && !s->last) {
    auto e = std::move(s->buffer.front());
    s->buffer.pop_front();
    s->weight -= weight_of(e);
    if (ends(e)) {
      s->last = std::move(e);
      break;
    }
    ++s->unanswered;
    post(side::head, [self, s, e] {
      self->deliver(s, e);
      self->post(side::node, [self, s] {
        --s->unanswered;
        self->pump(s);
      });
    });
  }
  if (!s->last || s->unanswered > 0 || std::exchange(s->answered, true)) return;
  std::erase(served_, s);
  if (std::holds_alternative<msg<schema::Finish>>(*s->last) && in_.breaks(sabotage::lost_finish))
    return;
  post(side::head, [self, s] { self->finish(s); });
}

void connection::deliver(const stream_ptr& s, const stream_event& e) {
  if (s->over) return;
  if (std::holds_alternative<msg<schema::Accepted>>(e)) s->accepted = true;
  tell(s, e);
  if (std::holds_alternative<msg<schema::TokenChunk>>(e) && in_.breaks(sabotage::double_chunk))
    tell(s, e);
}

void connection::tell(const stream_ptr& s, const stream_event& e) {
  std::visit([&](const auto& m) { caf::anon_send(s->sink, m); }, e);
}

void connection::finish(const stream_ptr& s) {
  if (std::exchange(s->over, true)) return;
  streams_.erase({s->id, s->sink.id()});
  tell(s, *s->last);
}

/// The request's end when the node did not give one.
void connection::fail(const stream_ptr& s, const error& why) {
  if (std::exchange(s->over, true)) return;
  if (!s->accepted) {
    caf::anon_send(s->sink, reject_message(s->id, why));
    return;
  }
  const auto reason =
      why.code == errc::cancelled ? schema::FinishReason::CANCELLED : schema::FinishReason::ERROR;
  caf::anon_send(s->sink, finish_message(s->id, reason, why.message));
}

/// The node's end of a call that was dropped.
void connection::drop(const stream_ptr& s) {
  std::erase(served_, s);
  if (std::exchange(s->source_ended, true)) return;
  if (auto sink = caf::actor_cast<caf::strong_actor_ptr>(s->node_sink))
    caf::anon_send<caf::message_priority::high>(node.router, actors::cancel_atom::value, s->id,
                                                caf::actor_cast<actors::sink_actor>(sink));
}

// -- stand-ins at the node

namespace {

using registry_proxy = actors::registry_actor::extend<caf::reacts_to<task>>;
using aggregator_proxy = actors::aggregator_actor::extend<caf::reacts_to<task>>;
using router_proxy = actors::router_actor::extend<caf::reacts_to<task>>;
using node_proxy = actors::node_actor::extend<caf::reacts_to<task>>;
using way_ptr = std::shared_ptr<way_to_head>;

msg<schema::ActorStatus> no_status() {
  return msg<schema::ActorStatus>::build([](schema::ActorStatus::Builder) {});
}
template <class T>
reply<T> failed(const error& e) {
  return make_reply<T>(e);
}

/// Promises a reply<T> of that actor of the head.
template <class T, class Proxy, class Target, class... Q>
caf::typed_response_promise<reply<T>> over(typename Proxy::pointer self, const way_ptr& way,
                                           Target head_ends::*at_head, Q... q) {
  using promise_type = caf::typed_response_promise<reply<T>>;
  promise_type promise = self->template make_response_promise<promise_type>();
  const auto by = way->now;
  if (!by || !by->joined || !by->open_at(side::node) || !(by->head.*at_head)) {
    promise.deliver(failed<T>({errc::unavailable, "the link to the head is down"}));
    return promise;
  }
  way->again = [at_head, q...](connection& next) {
    next.post(side::head, [to = next.head.*at_head, q...] { caf::anon_send(to, q...); });
  };
  by->template ask<reply<T>>(side::node, Proxy(self), promise, &failed<T>, by->head.*at_head, q...);
  return promise;
}

registry_proxy::behavior_type registry_stand_in(registry_proxy::pointer self, const way_ptr& way) {
  using record = msg<schema::VersionRecord>;
  const auto forbidden = [] {
    return make_reply<record>(error{errc::forbidden, "a node cannot do this; ask the head"});
  };
  return {[=](const msg<schema::Register>& r) {
            return over<record, registry_proxy>(self, way, &head_ends::registry, r);
          },
          [=](actors::list_atom a) {
            return over<msg<schema::VersionList>, registry_proxy>(self, way, &head_ends::registry,
                                                                  a);
          },
          [=](actors::promote_atom, const version_id&) { return forbidden(); },
          [=](actors::rollback_atom, const std::string&) { return forbidden(); },
          [=](actors::unload_atom a, const std::string& name) {
            return over<record, registry_proxy>(self, way, &head_ends::registry, a, name);
          },
          [](actors::status_atom) { return no_status(); },
          [](const task& t) { (*t.run)(); }};
}

aggregator_proxy::behavior_type aggregator_stand_in(aggregator_proxy::pointer self,
                                                    const way_ptr& way) {
  return {[=](const msg<schema::ShadowState>& s) {
            return over<msg<schema::Work>, aggregator_proxy>(self, way, &head_ends::aggregator, s);
          },
          [=](const msg<schema::UpdateChunk>& c) {
            if (way->on_update) way->on_update(*c.read());
            return over<msg<schema::UploadPlace>, aggregator_proxy>(self, way,
                                                                    &head_ends::aggregator, c);
          },
          [=](const msg<schema::Scores>& s) {
            return over<void, aggregator_proxy>(self, way, &head_ends::aggregator, s);
          },
          [=](const msg<schema::FactorsWanted>& w) {
            return over<msg<schema::FactorsChunk>, aggregator_proxy>(self, way,
                                                                     &head_ends::aggregator, w);
          },
          [](actors::status_atom) { return no_status(); },
          [](const task& t) { (*t.run)(); }};
}

// -- stand-ins at the head

router_proxy::behavior_type router_stand_in(router_proxy::pointer self,
                                            const std::weak_ptr<connection>& way) {
  auto draining = std::make_shared<bool>(false);
  return {[way, draining](const msg<schema::Request>& r, const actors::sink_actor& sink) {
            const auto id = r.read()->getId();
            const auto by = way.lock();
            if (*draining)
              caf::anon_send(sink, reject_message(id, {errc::draining, "the node drains"}));
            else if (!by)
              caf::anon_send(sink, reject_message(id, {errc::unavailable, "not connected"}));
            else
              by->generate(r, sink);
          },
          [way](actors::cancel_atom, request_id id, const actors::sink_actor& sink) {
            if (const auto by = way.lock()) by->cancel(id, sink);
          },
          [](const msg<schema::VersionRecord>&) {},
          [](const actors::replica_report_ptr&) {},
          [self, way](actors::list_atom a) {
            using list = msg<schema::VersionList>;
            auto promise = self->make_response_promise<caf::typed_response_promise<list>>();
            const auto none = [](const error&) {
              return list::build([](schema::VersionList::Builder) {});
            };
            if (const auto by = way.lock())
              by->ask<list>(side::head, router_proxy(self), promise, none, by->node.router, a);
            else
              promise.deliver(none({}));
            return promise;
          },
          [draining](actors::drain_atom) { *draining = true; },
          [](actors::status_atom) { return no_status(); },
          [](const task& t) { (*t.run)(); }};
}

template <class T, class... Q>
caf::typed_response_promise<reply<T>> at_node(node_proxy::pointer self,
                                              const std::weak_ptr<connection>& way, Q... q) {
  using promise_type = caf::typed_response_promise<reply<T>>;
  promise_type promise = self->make_response_promise<promise_type>();
  if (const auto by = way.lock())
    by->ask<reply<T>>(side::head, node_proxy(self), promise, &failed<T>, by->node.node, q...);
  else
    promise.deliver(failed<T>({errc::unavailable, "the node is not connected"}));
  return promise;
}

node_proxy::behavior_type node_stand_in(node_proxy::pointer self,
                                        const std::weak_ptr<connection>& way) {
  return {
      [=](actors::load_atom a, const std::string& name, const std::string& folder) {
        return at_node<msg<schema::VersionRecord>>(self, way, a, name, folder);
      },
      [=](actors::unload_atom a, const version_id& id) { return at_node<void>(self, way, a, id); },
      [=](actors::drain_atom a, std::uint32_t ms) { return at_node<void>(self, way, a, ms); },
      [](actors::slot_atom) {},
      [](actors::status_atom) { return no_status(); },
      [](const task& t) { (*t.run)(); }};
}

using ticking = caf::atom_constant<caf::atom("linktick")>;

}  // namespace

stand_ins spawn_stand_ins(process& in, const std::shared_ptr<way_to_head>& way) {
  return {in.spawn(registry_stand_in, way), in.spawn(aggregator_stand_in, way)};
}

// -- keeping

head_gate::head_gate(world& in, head_ends ends) : in_(in), ends_(std::move(ends)) {
  actor = ends_.proc->spawn([this](caf::event_based_actor* self) -> caf::behavior {
    self->send(self, ticking::value);
    return {[this, self](ticking) {
              watch();
              self->delayed_send(self, milliseconds(250), ticking::value);
            },
            [](const task& t) { (*t.run)(); }};
  });
}

void head_gate::watch() {
  for (auto& [name, p] : peers_) {
    if (!p.by || !p.by->open_at(side::head)) continue;
    const auto heard = p.by->received[static_cast<int>(side::head)];
    p.silent_ms = std::exchange(p.heard, heard) == heard ? p.silent_ms + 250 : 0;
    if (p.silent_ms >= lost_after_ms) p.by->give_up(side::head, "no beat for 2000 ms");
  }
}

void head_gate::join(const connection_ptr& by, const msg<schema::Hello>& hello) {
  if (!by->open_at(side::head)) return;
  const auto h = hello.read();
  const std::string name = h->getName().cStr();
  const auto incarnation = h->getIncarnation();
  if (incarnation < incarnations_[name]) return by->cut("an older incarnation");
  auto& p = peers_[name];
  if (p.by && p.by->open_at(side::head)) p.by->give_up(side::head, "it joined again");
  incarnations_[name] = incarnation;
  p = {by};
  by->incarnation = incarnation;
  by->on_head_lost = [this, name, incarnation](const std::string& why) {
    caf::anon_send(ends_.supervisor, actors::leave_atom::value, name, incarnation, why);
  };
  const std::weak_ptr<connection> way = by;
  caf::anon_send(ends_.supervisor, actors::join_atom::value, hello,
                 actors::router_actor(ends_.proc->spawn(router_stand_in, way)),
                 actors::node_actor(ends_.proc->spawn(node_stand_in, way)));
  by->post(side::node, [by] { by->joined = true; });
}

node_link::node_link(world& in, node_ends ends, std::shared_ptr<way_to_head> way, options o)
    : in_(in), ends_(std::move(ends)), way_(std::move(way)), o_(std::move(o)) {
  ends_.proc->spawn([this](caf::event_based_actor* self) -> caf::behavior {
    self->send(self, ticking::value);
    return {[this, self](ticking) {
      tick(self);
      self->delayed_send(self, milliseconds(250), ticking::value);
    }};
  });
}

void node_link::tick(caf::event_based_actor* self) {
  const double now = in_.now_ms();
  auto& by = way_->now;
  if (by && !by->open_at(side::node)) {
    by = nullptr;
    retry_at_ms_ = now + back_off_ms_;
    back_off_ms_ = std::min(2 * back_off_ms_, 5000.0);
  }
  if (!by) {
    if (now >= retry_at_ms_) connect();
    return;
  }
  if (by->received[static_cast<int>(side::node)] != heard_) {
    heard_ = by->received[static_cast<int>(side::node)];
    heard_at_ms_ = now;
  }
  if (now - heard_at_ms_ > lost_after_ms + 1000)
    return by->give_up(side::node, "the head was silent");
  if (!by->joined) return;
  back_off_ms_ = 200;
  if (std::exchange(greeted_, by) != by && way_->again && in_.draw(2) == 0) {
    in_.note(o_.name + " says its last word again");
    way_->again(*by);
  }
  if (now >= beat_at_ms_) beat(self);
}

void node_link::connect() {
  auto* gate = o_.listener();
  const auto* head = o_.head();
  retry_at_ms_ = in_.now_ms() + back_off_ms_;
  back_off_ms_ = std::min(2 * back_off_ms_, 5000.0);
  if (gate == nullptr || head == nullptr || !o_.sky->reachable) return;
  auto by = std::make_shared<connection>(in_, o_.sky, ends_, *head, o_.name);
  way_->now = by;
  heard_ = 0;
  heard_at_ms_ = in_.now_ms();
  const auto hello = msg<schema::Hello>::build([&](schema::Hello::Builder b) {
    b.setName(o_.name);
    b.setSite(o_.site);
    b.setIncarnation(o_.incarnation);
    b.setPid(static_cast<std::uint32_t>(o_.pid));
  });
  by->post(side::head, [by, gate, hello] {
    caf::anon_send(gate->actor, task_of([by, gate, hello] { gate->join(by, hello); }));
  });
}

void node_link::beat(caf::event_based_actor* self) {
  beat_at_ms_ = in_.now_ms() + beat_every_ms;
  const auto by = way_->now;
  self->request(ends_.telemetry, milliseconds(500), actors::list_atom::value)
      .then(
          [by, name = o_.name, i = o_.incarnation](const msg<schema::Snapshot>& s) {
            by->post(side::head, [by, name, i, s] {
              caf::anon_send(by->head.supervisor, actors::beat_atom::value, name, i, s);
              by->post(side::node, [] {});  // the answer
            });
          },
          [](const caf::error&) {});  // busy: the next one
}

}  // namespace collm::simulation
