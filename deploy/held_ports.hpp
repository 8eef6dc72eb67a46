// The HTTP ports of this machine's node processes, on which their head listens as well: while a
// node's process is replaced, who connects waits for the next one and is not refused.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "deploy/plan.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

/// Any thread may call.
class held_ports {
 public:
  held_ports() = default;
  ~held_ports() { release_all(); }
  held_ports(const held_ports&) = delete;
  /// The listening socket of a node's gateway, for a copy to be handed to its process. None where
  /// the manifest lets the node take any free port. Errors: as gateway::open_listener's.
  result<std::optional<int>> hold(const node_plan& node);
  /// Who connects is refused from now on, unless the node's own process listens.
  void release(const std::string& node);
  /// None is held after that (draining).
  void release_all();

 private:
  std::mutex mutex_;
  std::map<std::string, int> sockets_;  ///< by node
  bool over_ = false;
};

/// In a node's process: the socket that its head handed it, if any.
std::optional<int> handed_listener();

}  // namespace collm::deploy
