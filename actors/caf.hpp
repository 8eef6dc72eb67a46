// The only include of CAF in the tree, with the few spellings of ours that keep a later port cheap.
// CAF 0.17.6 exactly.
#pragma once

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/exec_main.hpp>
#include <caf/function_view.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include "messages/msg.hpp"

static_assert(CAF_VERSION / 100 == 17, "CoLLM supports CAF 0.17 only");

// Messages stay inside one process (the link carries what leaves it), so CAF never serialises a
// payload of ours. A type that actors exchange opts in by specialising collm::local_message.
namespace collm {
template <class T>
struct local_message : std::false_type {};
template <class T>
struct local_message<msg<T>> : std::true_type {};
}  // namespace collm

namespace caf {
template <class T>
requires(collm::local_message<T>::value) struct allowed_unsafe_message_type<T> : std::true_type {
};
}  // namespace caf
