#include "gateway/byte_stream.hpp"

#include <openssl/ssl.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>

namespace collm::gateway {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;

namespace {

class plain_stream final : public byte_stream {
 public:
  explicit plain_stream(socket peer) : socket_(std::move(peer)) {}

  void async_open(std::function<void(error_code)> done) override { done({}); }
  void async_read_some(asio::mutable_buffer to, transferred done) override {
    socket_.async_read_some(to, std::move(done));
  }
  void async_write(const std::vector<asio::const_buffer>& all, transferred done) override {
    asio::async_write(socket_, all, std::move(done));
  }
  void async_end(std::function<void()> done) override {
    error_code ignored;  // the peer may have gone already, which the next read tells
    socket_.shutdown(socket::shutdown_send, ignored);
    done();
  }
  socket& tcp() override { return socket_; }

 private:
  socket socket_;
};

class tls_stream final : public byte_stream {
 public:
  tls_stream(socket peer, ssl::context& context) : stream_(std::move(peer), context) {}

  void async_open(std::function<void(error_code)> done) override {
    stream_.async_handshake(ssl::stream_base::server, std::move(done));
  }
  void async_read_some(asio::mutable_buffer to, transferred done) override {
    if (ended_) return tcp().async_read_some(to, std::move(done));
    if (ending_) {
      return asio::post(tcp().get_executor(),
                        [done = std::move(done)] { done(asio::error::operation_aborted, 0); });
    }
    // HTTP's own framing says whether a request is whole, so a peer that left without TLS's
    // farewell is treated as one that took it.
    stream_.async_read_some(to, [done = std::move(done)](error_code ec, std::size_t bytes) {
      done(ec == ssl::error::stream_truncated ? error_code(asio::error::eof) : ec, bytes);
    });
  }
  void async_write(const std::vector<asio::const_buffer>& all, transferred done) override {
    asio::async_write(stream_, all, std::move(done));
  }
  /// The farewell must not meet a read that runs, so that one is called off first: its handler is
  /// queued before ours. What the farewell itself comes to does not matter: a peer that still sends
  /// makes it fail.
  void async_end(std::function<void()> done) override {
    ending_ = true;
    error_code ignored;  // nothing runs, or the peer has gone
    tcp().cancel(ignored);
    asio::post(tcp().get_executor(), [this, done = std::move(done)] {
      stream_.async_shutdown([this, done](error_code) {
        ended_ = true;
        error_code gone;  // closed meanwhile: the next read tells
        tcp().shutdown(socket::shutdown_send, gone);
        done();
      });
    });
  }
  socket& tcp() override { return stream_.next_layer(); }

 private:
  boost::beast::ssl_stream<socket> stream_;
  bool ending_ = false, ended_ = false;
};

}  // namespace

asio::ip::address address_of(const byte_stream::socket& peer) {
  boost::system::error_code gone;
  const auto address = peer.remote_endpoint(gone).address();
  if (gone || !address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

asio::ip::address network_of(const asio::ip::address& address) {
  if (!address.is_v6()) return address;
  auto bytes = address.to_v6().to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), std::uint8_t{0});
  return asio::ip::address_v6(bytes);
}

std::unique_ptr<byte_stream> make_plain_stream(byte_stream::socket peer) {
  return std::make_unique<plain_stream>(std::move(peer));
}

std::unique_ptr<byte_stream> make_tls_stream(byte_stream::socket peer, ssl::context& context) {
  return std::make_unique<tls_stream>(std::move(peer), context);
}

result<std::unique_ptr<ssl::context>> make_tls_context(const tls_files& files) {
  const auto wrong = [](const std::string& file, const std::string& why) {
    return error{errc::bad_request, "gateway TLS: " + file + ": " + why};
  };
  struct stat about {};
  if (::stat(files.key.c_str(), &about) != 0)
    return wrong(files.key, "cannot be read; the private key in PEM is expected here");
  if ((about.st_mode & S_IRWXO) != 0)
    return wrong(files.key, "others on this machine may read the private key; chmod 600 is right");
  auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                       ssl::context::no_sslv3 | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
  SSL_CTX* const raw = context->native_handle();
  // A client that renegotiates makes the server compute, for nothing; idle connections keep no
  // buffers.
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
  boost::system::error_code ec;
  context->use_certificate_chain_file(files.certificate, ec);
  if (ec)
    return wrong(files.certificate, ec.message() + "; a certificate chain in PEM is expected here");
  context->use_private_key_file(files.key, ssl::context::pem, ec);
  if (ec)
    return wrong(files.key, ec.message() + "; the private key in PEM of " + files.certificate +
                                " is expected here");
  return context;
}

}  // namespace collm::gateway
