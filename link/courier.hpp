// Between the loop and actors, in both directions, without either waiting.
//   ask():  loop -> actor. A courier actor asks for the loop, the answer fulfils a promise on the
//   loop. owed:   actor -> loop. An actor's promised answer, settled from the loop by a message to
//   that actor.
#pragma once

#include <kj/async.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "actors/interfaces.hpp"
#include "link/outcome.hpp"

namespace collm::link {

/// What a courier does once, in its own context.
using errand = std::shared_ptr<const std::function<void(caf::event_based_actor*)>>;
/// What an actor that owes answers does once, in its own context.
using delivery = std::shared_ptr<const std::function<void()>>;

}  // namespace collm::link

namespace collm {
template <>
struct local_message<link::errand> : std::true_type {};
template <>
struct local_message<link::delivery> : std::true_type {};
}  // namespace collm

namespace collm::link {

/// Spawns one; ends by anon_send_exit.
caf::actor spawn_courier(caf::actor_system& system);

/// Loop thread. Asks `to`; R is its answer. Fails with `unavailable` if it is gone. Dropping the
/// promise drops the answer.
template <class R, class Actor, class... Args>
kj::Promise<R> ask(const caf::actor& courier, const Actor& to, const Args&... args) {
  auto pair = kj::newPromiseAndCrossThreadFulfiller<R>();
  using fulfiller = kj::Own<kj::CrossThreadPromiseFulfiller<R>>;
  auto done = std::make_shared<fulfiller>(kj::mv(pair.fulfiller));
  auto run = [done, to, args...](caf::event_based_actor* self) {
    self->request(to, caf::infinite, args...)
        .then([done](const R& answer) { (*done)->fulfill(R(answer)); },
              [done](const caf::error&) {
                (*done)->reject(to_exception({errc::unavailable, "the actor asked has ended"}));
              });
  };
  caf::anon_send(courier,
                 std::make_shared<const std::function<void(caf::event_based_actor*)>>(run));
  return kj::mv(pair.promise);
}

/// One promised answer of actor `Owner`, which handles `delivery`. Settled once, by answer() or, as
/// unavailable, by its end.
template <class T, class Owner>
class owed {
 public:
  using reply = actors::reply<T>;
  owed(caf::typed_response_promise<reply> promise, Owner owner)
      : promise_(std::move(promise)), owner_(std::move(owner)) {}
  owed(const owed&) = delete;
  owed& operator=(const owed&) = delete;
  ~owed() { answer(error{errc::unavailable, "the link was lost before an answer came"}); }

  void answer(result<T> outcome) {
    if (settled_) return;
    settled_ = true;
    auto deliver = [promise = promise_, value = actors::make_reply<T>(std::move(outcome))] {
      auto once = promise;  // deliver() uses a promise up
      once.deliver(value);
    };
    caf::anon_send(owner_, std::make_shared<const std::function<void()>>(std::move(deliver)));
  }

 private:
  caf::typed_response_promise<reply> promise_;
  Owner owner_;
  bool settled_ = false;
};

/// The status of an actor of link/ as telemetry wants it.
msg<schema::ActorStatus> make_status(const char* name, const std::string& id, double processed,
                                     std::uint32_t failures);

}  // namespace collm::link
