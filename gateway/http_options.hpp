// What an HTTP gateway is started with. Plain values, constant afterwards.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gateway/access.hpp"
#include "gateway/asset.hpp"
#include "gateway/audit.hpp"
#include "messages/limits.hpp"

namespace collm::gateway {

/// The head also serves the page and redirects / to it.
enum class gateway_role : std::uint8_t { node, head };

struct http_timeouts {
  using ms = std::chrono::milliseconds;
  ms header{10'000};  ///< first to last byte of a header; also a new connection's first byte
  ms body{30'000};    ///< all of a body
  ms idle{60'000};    ///< between two requests of a kept connection
  ms write{30'000};   ///< one write that makes no end: the reader is gone or far too slow
  ms reply{30'000};   ///< the runtime's answer to anything but a generation
  ms load{300'000};   ///< the runtime's answer to loading an adapter and to a drain
  ms linger{2'000};   ///< for the peer to read a last response before its connection is closed
};

/// PEM files; the key is not for others on this machine to read.
struct tls_files {
  std::string certificate;  ///< with what stands between it and its authority
  std::string key;
};

struct http_options {
  std::string address = "127.0.0.1";  ///< an IP address; beyond loopback `tls` and keys are needed
  std::uint16_t port = 0;             ///< 0: any free one
  /// That listens there already (open_listener); the server owns it. None: it opens one.
  std::optional<int> listener;
  limits bounds;
  /// Connections from one address; 0: half of bounds.connections_max, and on loopback, where a
  /// proxy's clients have one address, no bound.
  std::uint32_t address_connections_max = 0;
  gateway_role role = gateway_role::node;
  std::string name = "gateway";  ///< "head", or the node's: in the audit trail
  http_timeouts timeouts;
  std::vector<tenant> tenants;
  bool keys_required = false;    ///< also where no tenant is known, so that nobody may call
  std::string admin_key_sha256;  ///< empty: admin routes are for keyless callers on this machine
  std::optional<tls_files> tls;  ///< none: plain HTTP
  std::shared_ptr<audit_trail> audit;  ///< null: admin acts leave no trace
  std::span<const asset> assets;       ///< outlives the server
  std::chrono::milliseconds events_interval{1'000};
  std::string version = "0.1.0";  ///< GET /version
  std::uint64_t seed =
      0;  ///< of request ids and of seeds that clients leave out; 0: from the system
};

}  // namespace collm::gateway
