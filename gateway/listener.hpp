// A gateway's listening socket, which may be opened before its server and outlive it.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <string>

#include "messages/result.hpp"

namespace collm::gateway {

/// Where a gateway listens. Error: bad_request, no IP address.
result<boost::asio::ip::tcp::endpoint> endpoint_of(const std::string& address, std::uint16_t port);

/// Listens on an IP address (port 0: any free one). The caller owns the descriptor, which is closed
/// on exec. Errors, with the place in their text: bad_request (no IP address), io (it is taken, or
/// may not be had).
result<int> open_listener(const std::string& address, std::uint16_t port);

}  // namespace collm::gateway
