#include "bench/http_client.hpp"

#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <cctype>
#include <optional>

namespace collm::bench {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using boost::system::error_code;

constexpr std::uint64_t body_bytes_max = 64ull << 20;
constexpr std::chrono::milliseconds look_again{100};
constexpr std::uint32_t header_bytes_max = 64u << 10;

using plain_stream = beast::tcp_stream;
using tls_stream = beast::ssl_stream<beast::tcp_stream>;

/// One connection. Every step is asynchronous inside, since only then Beast's timeouts work, and is
/// waited for at once.
template <class Stream>
class connection {
 public:
  /// `more`: a TLS context, for a stream that has one; outlives this.
  template <class... More>
  connection(const http_url& server, const http_call& call, More&... more)
      : server_(server), call_(call), stream_(context_, more...) {
    parser_.body_limit(body_bytes_max);
    parser_.header_limit(header_bytes_max);
  }

  result<void> open() {
    error_code failed;
    asio::ip::tcp::resolver resolver(context_);
    const auto found = resolver.resolve(server_.host, server_.port, failed);
    if (failed) return fault("cannot resolve", failed);
    lowest().expires_after(call_.connect_timeout);
    lowest().async_connect(found, [&](error_code e, const auto&) { failed = e; });
    wait();
    if (failed) return fault("cannot reach", failed);
    lowest().socket().set_option(asio::ip::tcp::no_delay(true), failed);
    if constexpr (std::is_same_v<Stream, tls_stream>) return shake_hands();
    return {};
  }

  result<void> send_request() {
    http::request<http::string_body> request{http::verb::unknown, server_.path + call_.target, 11};
    request.method_string(call_.method);
    request.set(http::field::host, authority());
    request.set(http::field::connection, "close");
    for (const auto& [name, value] : call_.headers) request.set(name, value);
    if (!call_.body.empty()) {
      if (request.find(http::field::content_type) == request.end())
        request.set(http::field::content_type, "application/json");
      request.body() = call_.body;
    }
    if (!call_.body.empty() || call_.method != "GET") request.prepare_payload();
    error_code failed;
    lowest().expires_after(call_.silence_timeout);
    http::async_write(stream_, request, [&](error_code e, std::size_t) { failed = e; });
    wait();
    if (failed) return fault("cannot write to", failed);
    return {};
  }

  result<void> read_header() {
    error_code failed;
    lowest().expires_after(call_.silence_timeout);
    http::async_read_header(stream_, buffer_, parser_,
                            [&](error_code e, std::size_t) { failed = e; });
    wait();
    if (failed) return fault("no answer from", failed);
    return {};
  }

  /// Bytes of the body to `to` as they come, until its end or until `to` says stop.
  template <class Sink>
  result<void> read_body(const Sink& to) {
    std::array<char, 16384> bytes;
    while (!parser_.is_done()) {
      parser_.get().body().data = bytes.data();
      parser_.get().body().size = bytes.size();
      error_code failed;
      lowest().expires_after(call_.silence_timeout);
      http::async_read_some(stream_, buffer_, parser_,
                            [&](error_code e, std::size_t) { failed = e; });
      wait();
      const std::size_t got = bytes.size() - parser_.get().body().size;
      if (got && !to(std::string_view(bytes.data(), got))) return {};
      if (failed && failed != http::error::need_buffer) return fault("broken answer from", failed);
    }
    return {};
  }

  http_reply reply() const {
    http_reply r;
    r.status = parser_.get().result_int();
    for (const auto& field : parser_.get()) {
      std::string name(field.name_string());
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      r.headers.emplace_back(std::move(name), std::string(field.value()));
    }
    return r;
  }

 private:
  beast::tcp_stream& lowest() { return beast::get_lowest_layer(stream_); }

  std::string authority() const {
    const bool v6 = server_.host.find(':') != std::string::npos;
    return (v6 ? '[' + server_.host + ']' : server_.host) + ':' + server_.port;
  }

  result<void> shake_hands() {
    error_code failed;
    stream_.set_verify_callback(ssl::host_name_verification(server_.host));
    asio::ip::make_address(server_.host, failed);
    // A server that has several certificates goes by the name; an address is none.
    if (failed) SSL_set_tlsext_host_name(stream_.native_handle(), server_.host.c_str());
    failed = {};
    stream_.async_handshake(ssl::stream_base::client, [&](error_code e) { failed = e; });
    wait();
    if (!failed) return {};
    const long verdict = SSL_get_verify_result(stream_.native_handle());
    if (verdict == X509_V_OK) return fault("no TLS handshake with", failed);
    return error{errc::forbidden,
                 "the certificate of https://" + authority() +
                     " is not to be trusted: " + X509_verify_cert_error_string(verdict) +
                     "; --ca names its authority's PEM file"};
  }

  void wait() {
    context_.restart();
    while (call_.over && !context_.stopped() && !call_.over()) context_.run_for(look_again);
    if (!context_.stopped() && call_.over) lowest().cancel();
    context_.run();
  }

  error fault(const char* what, const error_code& why) const {
    const bool late = why == beast::error::timeout || why == asio::error::timed_out;
    const bool garbled =
        why.category() == http::make_error_code(http::error::bad_version).category() &&
        why != http::error::end_of_stream && why != http::error::partial_message;
    return {late      ? errc::timeout
            : garbled ? errc::corrupt
                      : errc::unavailable,
            std::string(what) + (server_.tls ? " https://" : " http://") + authority() + ": " +
                why.message()};
  }

  const http_url& server_;
  const http_call& call_;
  asio::io_context context_;
  Stream stream_;
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
};

template <class Stream>
result<void> begin(connection<Stream>& c) {
  if (auto opened = c.open(); !opened) return opened;
  if (auto sent = c.send_request(); !sent) return sent;
  return c.read_header();
}

template <class Stream>
result<http_reply> whole(connection<Stream>& c) {
  http_reply reply = c.reply();
  const auto read = c.read_body([&](std::string_view bytes) {
    reply.body += bytes;
    return true;
  });
  if (!read) return read.failure();
  return reply;
}

/// `to` null: whatever comes is the body.
template <class Stream>
result<http_reply> converse(connection<Stream>& c, const event_sink* to) {
  if (auto begun = begin(c); !begun) return begun.failure();
  http_reply reply = c.reply();
  const bool events =
      to != nullptr && reply.ok() && reply.header("content-type").starts_with("text/event-stream");
  if (!events) return whole(c);
  sse_reader events_of;
  const auto read = c.read_body([&](std::string_view bytes) { return events_of.push(bytes, *to); });
  if (!read) return read.failure();
  return reply;
}

result<void> trust(ssl::context& context, const std::string& ca) {
  error_code failed;
  context.set_verify_mode(ssl::verify_peer, failed);
  // Who is named outright is trusted, authority or not.
  X509_STORE_set_flags(SSL_CTX_get_cert_store(context.native_handle()), X509_V_FLAG_PARTIAL_CHAIN);
  ca.empty() ? context.set_default_verify_paths(failed) : context.load_verify_file(ca, failed);
  if (!failed) return {};
  return error{errc::bad_request,
               ca + ": " + failed.message() + "; a PEM file of the authority to trust is expected"};
}

result<http_reply> talk(const http_url& server, const std::string& ca, const http_call& call,
                        const event_sink* to) {
  if (!server.tls) {
    connection<plain_stream> c(server, call);
    return converse(c, to);
  }
  ssl::context context(ssl::context::tls_client);
  if (auto trusting = trust(context, ca); !trusting) return trusting.failure();
  connection<tls_stream> c(server, call, context);
  return converse(c, to);
}

}  // namespace

result<http_url> parse_url(std::string_view text) {
  const auto wrong = [&](std::string why) {
    return error{errc::bad_request,
                 "\"" + std::string(text) + "\" " + why + "; write http://127.0.0.1:8080"};
  };
  http_url url;
  url.tls = text.starts_with("https://");
  if (!url.tls && !text.starts_with("http://")) return wrong("is not an HTTP address");
  std::string_view rest = text.substr(url.tls ? 8 : 7);
  const auto slash = rest.find('/');
  if (slash != std::string_view::npos) url.path = rest.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  rest = rest.substr(0, slash);
  const bool bracketed = rest.starts_with('[') && rest.find(']') != std::string_view::npos;
  const auto colon = rest.find(':', bracketed ? rest.find(']') : 0);
  url.host = bracketed ? rest.substr(1, rest.find(']') - 1) : rest.substr(0, colon);
  url.port = colon == std::string_view::npos ? (url.tls ? "443" : "80")
                                             : std::string(rest.substr(colon + 1));
  const bool digits = !url.port.empty() && url.port.size() <= 5 &&
                      std::all_of(url.port.begin(), url.port.end(),
                                  [](unsigned char c) { return std::isdigit(c); });
  if (url.host.empty() || !digits) return wrong("has no host or no port");
  return url;
}

std::string http_reply::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return "";
}

result<http_reply> http_client::send(const http_call& call) const {
  return talk(server_, ca_, call, nullptr);
}

result<http_reply> http_client::stream(const http_call& call, const event_sink& to) const {
  return talk(server_, ca_, call, &to);
}

bool sse_reader::push(std::string_view bytes, const event_sink& to) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    partial_ += bytes.substr(0, end);
    if (end == std::string_view::npos) return true;
    bytes.remove_prefix(end + 1);
    if (partial_.ends_with('\r')) partial_.pop_back();
    const std::string text = std::exchange(partial_, {});
    if (!line(text, to)) return false;
  }
  return true;
}

bool sse_reader::line(std::string_view text, const event_sink& to) {
  if (text.empty()) {
    const bool dispatch = std::exchange(has_data_, false);
    const std::string data = std::exchange(data_, {});
    return !dispatch || to(data);
  }
  constexpr std::string_view field = "data:";
  if (!text.starts_with(field)) return true;
  text.remove_prefix(field.size());
  if (text.starts_with(' ')) text.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += text;
  has_data_ = true;
  return true;
}

}  // namespace collm::bench
