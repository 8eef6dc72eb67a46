// Who may take part in the cluster, as the head's gateway sees it: join tokens, revocation,
// rotation. Calls return at once, from any thread; callbacks come on a thread of the
// implementation.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "messages/result.hpp"

namespace collm::gateway {

class nodes_port {
 public:
  template <class T>
  using reply = std::function<void(result<T>)>;

  virtual ~nodes_port() = default;

  /// The text of a token with which `node` joins once, within `lives_s` seconds. A secret.
  virtual void join_token(std::string node, std::uint32_t lives_s, reply<std::string> to) = 0;
  /// From the answer on, the node's certificates are worth nothing and its connection is closed.
  virtual void revoke(std::string node, reply<void> to) = 0;
  /// A connected node makes itself a new key and certificate; the old one ends ten minutes later.
  virtual void rotate(std::string node, reply<void> to) = 0;
};

}  // namespace collm::gateway
