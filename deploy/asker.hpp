// One question to an actor, asked by an actor of its own, so that no thread waits. Any thread.
#pragma once

#include <chrono>
#include <string>

#include "actors/interfaces.hpp"

namespace collm::deploy {

/// `failed` gets what kept the answer away.
template <class Target, class Done, class Failed, class... Question>
void ask(caf::actor_system& system, const Target& target, std::chrono::milliseconds at_most,
         Done done, Failed failed, Question... question) {
  system.spawn([=](caf::event_based_actor* self) {
    self->request(target, at_most, question...).then(done, [failed](const caf::error& e) {
      failed(to_string(e));
    });
  });
}

/// The same where the answer is a reply<T>: `to` gets its result, or `unavailable`.
template <class T, class Target, class To, class... Question>
void ask_reply(caf::actor_system& system, const Target& target, std::chrono::milliseconds at_most,
               To to, Question... question) {
  ask(
      system, target, at_most, [to](const actors::reply<T>& answer) { to(*answer); },
      [to](const std::string& why) {
        to(result<T>(error{errc::unavailable, "there was no answer: " + why, 1000}));
      },
      question...);
}

}  // namespace collm::deploy
