// What a node lets its head do: the Node capability, carried out by this process's actors. Loop
// thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "link/courier.hpp"
#include "link/link.hpp"
#include "messages/link.capnp.h"

namespace collm::link {

/// What the connections of one link_client share.
struct node_context {
  loop& on;
  caf::actor_system& system;
  limits bounds;
  caf::actor courier;
  client_actors actors;
  std::function<kj::Promise<void>()> renew;  ///< makes a new key and has it signed
  /// Of those begun, whose answer is not on its way yet; read by any thread.
  std::shared_ptr<std::atomic<std::uint32_t>> generations_open;
  std::uint64_t generations_begun = 0;
};

/// Lives as long as the head or one of its calls holds it; calls that are dropped are cancelled at
/// the router.
schema::Node::Client make_node_service(std::shared_ptr<node_context> context);

}  // namespace collm::link
