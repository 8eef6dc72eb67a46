#include "link/proxies.hpp"

namespace collm::link {
namespace {

using schema::Request;
using schema::VersionList;
using schema::VersionRecord;

error away(const std::string& node) {
  return {errc::unavailable, "node " + node + " is not connected"};
}
error busy() { return {errc::overloaded, "the link has too much to do; retry", 100}; }

void refuse(const actors::sink_actor& sink, request_id id, const error& why) {
  caf::anon_send(sink, make_reject(id, why));
}

struct router_state {
  way_to_node way;
  bool draining = false;
  double processed = 0;
  std::uint32_t failures = 0;
};

void pass_on(router_state& state, const msg<Request>& request, const actors::sink_actor& sink) {
  ++state.processed;
  const request_id id = request.read()->getId();
  if (state.draining)
    return refuse(sink, id, {errc::draining, "node " + state.way.node + " drains"});
  const bool taken = state.way.loop->post([way = state.way, request, sink, id] {
    auto calls = way.calls.lock();
    if (calls) return calls->generate(request, sink);
    refuse(sink, id, away(way.node));
  });
  if (taken) return;
  ++state.failures;
  refuse(sink, id, busy());
}

/// An answer that is no reply<T>: an empty list stands for a node that is away.
using list_promise = caf::typed_response_promise<msg<VersionList>>;

list_promise ask_versions(router_proxy::pointer self, const way_to_node& way) {
  list_promise promise = self->make_response_promise<list_promise>();
  router_proxy owner(self);
  auto answer = [promise, owner](result<msg<VersionList>> found) {
    auto list = found ? *found : msg<VersionList>::build([](VersionList::Builder) {});
    auto deliver = [promise, list] {
      auto once = promise;
      once.deliver(list);
    };
    caf::anon_send(owner, std::make_shared<const std::function<void()>>(std::move(deliver)));
  };
  const bool taken = way.loop->post([way, answer] {
    auto calls = way.calls.lock();
    if (calls) return calls->versions(answer);
    answer(away(way.node));
  });
  if (!taken) answer(busy());
  return promise;
}

router_proxy::behavior_type router_behavior(router_proxy::pointer self, way_to_node way) {
  auto state = std::make_shared<router_state>();
  state->way = std::move(way);
  return {
      [state](const msg<Request>& request, const actors::sink_actor& sink) {
        pass_on(*state, request, sink);
      },
      [state](actors::cancel_atom, request_id id, const actors::sink_actor& sink) {
        state->way.loop->post_owed([calls = state->way.calls, id, sink] {
          if (auto there = calls.lock()) there->cancel(id, sink);
        });
      },
      [state](const msg<VersionRecord>& record) {
        state->way.loop->post([calls = state->way.calls, record] {
          if (auto there = calls.lock()) there->announce(record);
        });
      },
      [](const actors::replica_report_ptr&) {},  // a node's replicas report to its own router
      [self, state](actors::list_atom) { return ask_versions(self, state->way); },
      [state](actors::drain_atom) { state->draining = true; },
      [state](actors::status_atom) {
        return make_status("link_router", state->way.node, state->processed, state->failures);
      },
      [](const delivery& what) { (*what)(); },
  };
}

/// Promises an answer and has `call` fetch it on the loop.
template <class T, class Call>
caf::typed_response_promise<actors::reply<T>> fetch(node_proxy::pointer self,
                                                    const way_to_node& way, Call call) {
  using promise_type = caf::typed_response_promise<actors::reply<T>>;
  promise_type promise = self->make_response_promise<promise_type>();
  auto reply = std::make_shared<owed<T, node_proxy>>(promise, node_proxy(self));
  const bool taken = way.loop->post([way, call, reply] {
    auto calls = way.calls.lock();
    if (calls) return call(*calls, reply);
    reply->answer(away(way.node));
  });
  if (!taken) reply->answer(busy());
  return promise;
}

node_proxy::behavior_type node_behavior(node_proxy::pointer self, const way_to_node& way) {
  using record = msg<VersionRecord>;
  return {
      [self, way](actors::load_atom, const std::string& adapter, const std::string& folder) {
        return fetch<record>(self, way, [adapter, folder](node_calls& to, auto reply) {
          to.load(adapter, folder, std::move(reply));
        });
      },
      [self, way](actors::unload_atom, const version_id& id) {
        return fetch<void>(self, way,
                           [id](node_calls& to, auto reply) { to.unload(id, std::move(reply)); });
      },
      [self, way](actors::drain_atom, std::uint32_t deadline_ms) {
        return fetch<void>(self, way, [deadline_ms](node_calls& to, auto reply) {
          to.drain(deadline_ms, std::move(reply));
        });
      },
      [](actors::slot_atom) {},  // the node's own clock drives its node actor
      [way](actors::status_atom) { return make_status("link_node", way.node, 0, 0); },
      [](const delivery& what) { (*what)(); },
  };
}

}  // namespace

actors::router_actor spawn_router_proxy(caf::actor_system& system, way_to_node way) {
  return system.spawn(router_behavior, std::move(way));
}

actors::node_actor spawn_node_proxy(caf::actor_system& system, way_to_node way) {
  return system.spawn(node_behavior, std::move(way));
}

}  // namespace collm::link
