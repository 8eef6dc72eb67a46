#include "gateway/listener.hpp"

#include <fcntl.h>

#include <boost/asio/io_context.hpp>

namespace collm::gateway {

using boost::asio::ip::tcp;
using boost::system::error_code;

result<tcp::endpoint> endpoint_of(const std::string& address, std::uint16_t port) {
  error_code ec;
  const tcp::endpoint endpoint(boost::asio::ip::make_address(address, ec), port);
  if (ec)
    return error{errc::bad_request, "gateway address " + address + ":" + std::to_string(port) +
                                        ": an IP address is expected, such as 127.0.0.1"};
  return endpoint;
}

result<int> open_listener(const std::string& address, std::uint16_t port) {
  const auto endpoint = endpoint_of(address, port);
  if (!endpoint) return endpoint.failure();
  error_code ec;
  boost::asio::io_context io(1);
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint->protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor.bind(*endpoint, ec);
  if (!ec) acceptor.listen(boost::asio::socket_base::max_listen_connections, ec);
  if (!ec && fcntl(acceptor.native_handle(), F_SETFD, FD_CLOEXEC) != 0)
    ec = error_code(errno, boost::system::system_category());
  const int socket = ec ? -1 : acceptor.release(ec);
  if (ec)
    return error{errc::io, "gateway cannot listen on " + address + ":" + std::to_string(port) +
                               ": " + ec.message()};
  return socket;
}

}  // namespace collm::gateway
