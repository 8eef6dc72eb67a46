// One HTTP request and one response as plain values, and the bytes of a response. Not a parser:
// http_session reads with Beast.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace collm::gateway {

struct http_request {
  std::string method;  ///< as sent: "GET"
  std::string path;    ///< before '?', percent-decoded
  std::string query;   ///< after '?', as sent
  unsigned version = 11;
  bool keep_alive = true;
  std::string peer;                                          ///< its address, without port
  bool from_loopback = false;                                ///< by that address
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  std::string body;

  /// Value of the first header of that lower-case name; null if absent.
  const std::string* header(std::string_view name) const;
  std::size_t header_count(std::string_view name) const;
  /// Value of a query parameter, percent-decoded.
  std::optional<std::string> parameter(std::string_view name) const;
};

struct http_response {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

/// How a response is framed on its connection.
struct http_framing {
  unsigned version = 11;
  bool keep_alive = true;
  bool chunked = false;      ///< instead of content-length
  bool until_close = false;  ///< neither: HTTP/1.0 streams
};

/// Status line and headers, with the empty line that ends them.
std::string head_bytes(const http_response& response, const http_framing& framing);

/// One chunk of a chunked body; empty data gives no bytes (an empty chunk would end the body).
std::string chunk_bytes(std::string_view data);
inline constexpr std::string_view last_chunk_bytes = "0\r\n\r\n";

/// "%41" to "A"; nothing on a broken escape or a NUL.
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace collm::gateway
