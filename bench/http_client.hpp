// A small HTTP/1.1 client for talking to a cluster as any outside client would: one connection a
// call, timeouts, SSE; TLS where the address says https. Blocking; an object may be used by one
// thread at a time, any number of objects side by side.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "messages/result.hpp"

namespace collm::bench {

struct http_url {
  std::string host, port;
  std::string path;  ///< what is put before every target; empty or "/v1"; no slash at its end
  bool tls = false;  ///< https
};

/// "http://127.0.0.1:8080/v1", or https. Anything else is refused with what would be right.
result<http_url> parse_url(std::string_view text);

struct http_call {
  std::string method = "GET";
  std::string target;  ///< "/admin/v1/status"
  std::string body;    ///< sent where not empty; JSON unless `headers` give its Content-Type
  std::vector<std::pair<std::string, std::string>> headers;
  std::chrono::milliseconds connect_timeout{2000};
  std::chrono::milliseconds silence_timeout{60000};  ///< longest wait for the next bytes
  /// The call ends as unavailable within 100 ms of this holding; empty: it never does.
  std::function<bool()> over = {};
};

struct http_reply {
  unsigned status = 0;
  std::string body;                                          ///< of a stream that succeeded: empty
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case

  bool ok() const { return status >= 200 && status < 300; }
  /// Value of that lower-case header; empty if absent.
  std::string header(std::string_view name) const;
};

/// Takes one SSE event's data; false ends the call (the server sees the client go).
using event_sink = std::function<bool(std::string_view data)>;

class http_client {
 public:
  /// `ca`: a PEM file of whom to trust at https, an authority or the server's own certificate;
  /// empty: the system's authorities.
  explicit http_client(http_url server, std::string ca = {})
      : server_(std::move(server)), ca_(std::move(ca)) {}

  /// unavailable: nobody listens. forbidden: its certificate is not to be trusted. timeout: no
  /// bytes for too long. corrupt: not HTTP, or a body over 64 MiB.
  result<http_reply> send(const http_call& call) const;

  /// The same, but a 2xx answer of type text/event-stream goes to `to`, event by event as the bytes
  /// arrive.
  result<http_reply> stream(const http_call& call, const event_sink& to) const;

  const http_url& server() const { return server_; }

 private:
  http_url server_;
  std::string ca_;
};

/// Cuts an SSE byte stream into the data of its events; comments and other fields are dropped.
class sse_reader {
 public:
  /// False once `to` said stop.
  bool push(std::string_view bytes, const event_sink& to);

 private:
  bool line(std::string_view text, const event_sink& to);
  std::string partial_;  ///< bytes after the last line end
  std::string data_;
  bool has_data_ = false;
};

}  // namespace collm::bench
