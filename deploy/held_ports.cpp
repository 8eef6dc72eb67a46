#include "deploy/held_ports.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "deploy/child_processes.hpp"
#include "gateway/listener.hpp"

namespace collm::deploy {

result<std::optional<int>> held_ports::hold(const node_plan& node) {
  if (node.http.port == 0) return std::optional<int>();
  const std::lock_guard lock(mutex_);
  if (over_) return error{errc::draining, "no port is held while the cluster stops"};
  const auto at = sockets_.find(node.name);
  if (at != sockets_.end()) return std::optional(at->second);
  auto opened = gateway::open_listener(node.http.host, node.http.port);
  if (!opened) return opened.failure();
  sockets_[node.name] = *opened;
  return std::optional(*opened);
}

void held_ports::release(const std::string& node) {
  const std::lock_guard lock(mutex_);
  if (auto socket = sockets_.extract(node)) close(socket.mapped());
}

void held_ports::release_all() {
  const std::lock_guard lock(mutex_);
  over_ = true;
  for (const auto& [node, socket] : sockets_) close(socket);
  sockets_.clear();
}

std::optional<int> handed_listener() {
  const char* text = std::getenv(listener_variable);
  if (text == nullptr) return {};
  const int socket = std::atoi(text);
  fcntl(socket, F_SETFD, FD_CLOEXEC);
  return socket;
}

}  // namespace collm::deploy
