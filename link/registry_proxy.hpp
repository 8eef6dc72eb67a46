// A node's stand-in for the head's registry: the same interface, answered over the link,
// `unavailable` while it is down.
#pragma once

#include <memory>

#include "link/proxies.hpp"

namespace collm::link {

template <class T>
using registry_owed = std::shared_ptr<owed<T, registry_proxy>>;

/// What the loop does for it. Loop thread.
class registry_calls {
 public:
  virtual ~registry_calls() = default;
  virtual void record(const msg<schema::Register>& what,
                      registry_owed<msg<schema::VersionRecord>> reply) = 0;
  virtual void list(registry_owed<msg<schema::VersionList>> reply) = 0;
  virtual void retire(const std::string& adapter,
                      registry_owed<msg<schema::VersionRecord>> reply) = 0;
};

actors::registry_actor spawn_registry_proxy(caf::actor_system& system, std::shared_ptr<inbox> loop,
                                            std::weak_ptr<registry_calls> calls);

}  // namespace collm::link
