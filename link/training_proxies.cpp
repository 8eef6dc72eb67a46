#include "link/training_proxies.hpp"

#include "link/outcome.hpp"
#include "link/training_rules.hpp"

namespace collm::link {
namespace {

using way_ptr = std::shared_ptr<way_to_session>;
using session = schema::Session::Client;

error busy(const std::string& why) { return {errc::overloaded, why + "; retry", 100}; }

/// What the failure of a call means here.
error failure_of_call(const kj::Exception& e) {
  if (e.getType() != kj::Exception::Type::UNIMPLEMENTED) return from_exception(e);
  return {errc::unavailable,
          "the head is older than this node and knows nothing of training; start it again with "
          "this build"};
}

/// Loop thread: sends what `make` makes of the session, settles `reply` with the answer.
template <class Owed, class Make>
void send(const way_ptr& way, const std::shared_ptr<Owed>& reply, Make make) {
  auto calls = way->calls.lock();
  if (!calls) return;  // reply says unavailable as it goes
  KJ_IF_MAYBE (to, calls->current()) {
    if (way->open >= training_calls_max) {
      return reply->answer(busy("the head has not answered " + std::to_string(training_calls_max) +
                                " calls about training"));
    }
    ++way->open;
    auto call = make(*to);
    calls->keep(call.send()
                    .then([reply](auto&& answer) { reply->answer(from_wire(answer.getResult())); },
                          [reply](kj::Exception&& e) { reply->answer(failure_of_call(e)); })
                    .attach(kj::defer([way] { --way->open; })));
  } else {
    reply->answer(calls->down());
  }
}

/// Promises a reply<T> and has the loop fetch it.
template <class T, class Proxy, class Make>
caf::typed_response_promise<actors::reply<T>> fetch(typename Proxy::pointer self,
                                                    const way_ptr& way, Make make) {
  using promise_type = caf::typed_response_promise<actors::reply<T>>;
  promise_type promise = self->template make_response_promise<promise_type>();
  auto reply = std::make_shared<owed<T, Proxy>>(promise, Proxy(self));
  if (!way->loop->post([way, reply, make] { send(way, reply, make); })) {
    reply->answer(busy("the link has too much to do"));
  }
  return promise;
}

aggregator_proxy::behavior_type aggregator_behavior(aggregator_proxy::pointer self,
                                                    const way_ptr& way) {
  return {
      [self, way](const msg<schema::ShadowState>& state) {
        return fetch<msg<schema::Work>, aggregator_proxy>(self, way, [state](session& to) {
          auto call = to.shadowRequest();
          call.setState(*state.read());
          return call;
        });
      },
      [self, way](const msg<schema::UpdateChunk>& chunk) {
        return fetch<msg<schema::UploadPlace>, aggregator_proxy>(self, way, [chunk](session& to) {
          auto call = to.uploadRequest();
          call.setChunk(*chunk.read());
          return call;
        });
      },
      [self, way](const msg<schema::Scores>& scores) {
        return fetch<void, aggregator_proxy>(self, way, [scores](session& to) {
          auto call = to.scoresRequest();
          call.setScores(*scores.read());
          return call;
        });
      },
      [self, way](const msg<schema::FactorsWanted>& wanted) {
        return fetch<msg<schema::FactorsChunk>, aggregator_proxy>(self, way, [wanted](session& to) {
          auto call = to.factorsRequest();
          call.setWanted(*wanted.read());
          return call;
        });
      },
      [](actors::status_atom) { return make_status("link_aggregator", "", 0, 0); },
      [](const delivery& what) { (*what)(); },
  };
}

coordinator_proxy::behavior_type coordinator_behavior(coordinator_proxy::pointer self,
                                                      const way_ptr& way) {
  return {
      [self, way](const msg<schema::JobRequest>& request) {
        return fetch<msg<schema::Job>, coordinator_proxy>(self, way, [request](session& to) {
          auto call = to.createJobRequest();
          call.setRequest(*request.read());
          return call;
        });
      },
      [self, way](actors::list_atom) {
        return fetch<msg<schema::JobList>, coordinator_proxy>(
            self, way, [](session& to) { return to.jobsRequest(); });
      },
      [self, way](actors::cancel_atom, const std::string& id) {
        return fetch<msg<schema::Job>, coordinator_proxy>(self, way, [id](session& to) {
          auto call = to.cancelJobRequest();
          call.setId(id.c_str());
          return call;
        });
      },
      [](actors::status_atom) { return make_status("link_coordinator", "", 0, 0); },
      [](const delivery& what) { (*what)(); },
  };
}

}  // namespace

actors::aggregator_actor spawn_aggregator_proxy(caf::actor_system& system, way_ptr way) {
  return system.spawn(aggregator_behavior, std::move(way));
}

actors::coordinator_actor spawn_coordinator_proxy(caf::actor_system& system, way_ptr way) {
  return system.spawn(coordinator_behavior, std::move(way));
}

}  // namespace collm::link
