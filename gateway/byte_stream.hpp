// One connection's bytes, whatever carries them: TCP alone, or TLS over it. Bounds nothing and sets
// no deadline: that is http_session's. Asio thread only.
#pragma once

#include <utility>
// Boost 1.74's awaitable.hpp needs <utility> before it.
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "gateway/http_options.hpp"
#include "messages/result.hpp"

namespace collm::gateway {

/// Whoever waits for a call keeps the stream alive until `done`.
class byte_stream {
 public:
  using socket = boost::asio::ip::tcp::socket;
  using error_code = boost::system::error_code;
  using transferred = std::function<void(error_code, std::size_t)>;

  virtual ~byte_stream() = default;

  /// The handshake; without one `done` is called at once. Nothing else before it has succeeded.
  virtual void async_open(std::function<void(error_code)> done) = 0;
  /// asio::error::eof: the peer sends nothing more, however it says so.
  virtual void async_read_some(boost::asio::mutable_buffer to, transferred done) = 0;
  virtual void async_write(const std::vector<boost::asio::const_buffer>& all, transferred done) = 0;
  /// Tells the peer that nothing more comes, once nothing is left to write. A read that runs may
  /// end with operation_aborted; reads after `done` give bytes that can only be counted.
  virtual void async_end(std::function<void()> done) = 0;
  virtual socket& tcp() = 0;
};

/// The peer's; unspecified where it has gone already. What came over IPv6 as IPv4 counts as IPv4.
boost::asio::ip::address address_of(const byte_stream::socket& peer);
/// One caller, for all that can be told: an IPv6 customer has a /64.
boost::asio::ip::address network_of(const boost::asio::ip::address& address);

std::unique_ptr<byte_stream> make_plain_stream(byte_stream::socket peer);
/// `context` outlives the stream.
std::unique_ptr<byte_stream> make_tls_stream(byte_stream::socket peer,
                                             boost::asio::ssl::context& context);

/// TLS 1.2 and later with this certificate. Refuses with the file that is at fault.
result<std::unique_ptr<boost::asio::ssl::context>> make_tls_context(const tls_files& files);

}  // namespace collm::gateway
