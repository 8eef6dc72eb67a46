// A node's stand-ins for the head's aggregators and its coordinator: the same interfaces, answered
// over the link. `unavailable` while it is down, or where the head is older than the question;
// `overloaded` while too many calls wait. An actor, not the loop, runs them.
#pragma once

#include <kj/async.h>

#include <cstdint>
#include <memory>

#include "actors/interfaces.hpp"
#include "link/courier.hpp"
#include "link/loop.hpp"
#include "messages/link.capnp.h"

namespace collm::link {

using aggregator_proxy = actors::aggregator_actor::extend<caf::reacts_to<delivery>>;
using coordinator_proxy = actors::coordinator_actor::extend<caf::reacts_to<delivery>>;

/// What the loop has for them. Loop thread.
class session_calls {
 public:
  virtual ~session_calls() = default;
  virtual kj::Maybe<schema::Session::Client> current() = 0;  ///< none: the link is down
  virtual error down() const = 0;
  virtual void keep(kj::Promise<void> call) = 0;  ///< until it ends, or the link_client does
};

/// The way there, of both stand-ins together. `calls` and `open`: loop thread.
struct way_to_session {
  way_to_session(std::shared_ptr<inbox> on, std::weak_ptr<session_calls> to)
      : loop(std::move(on)), calls(std::move(to)) {}
  const std::shared_ptr<inbox> loop;
  const std::weak_ptr<session_calls> calls;
  std::uint32_t open = 0;  ///< calls that the head has not answered
};

actors::aggregator_actor spawn_aggregator_proxy(caf::actor_system& system,
                                                std::shared_ptr<way_to_session> way);
actors::coordinator_actor spawn_coordinator_proxy(caf::actor_system& system,
                                                  std::shared_ptr<way_to_session> way);

}  // namespace collm::link
