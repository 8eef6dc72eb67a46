// A raw HTTP client for conformance tests: sends exactly the bytes it is told, reads one response
// at a time. Every wait ends after 10 s, so that a broken server fails a test instead of hanging
// it.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace collm::gateway::fake {

struct reply {
  unsigned status = 0;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;                            ///< de-chunked
  std::string raw_head;
};

class http_peer {
 public:
  explicit http_peer(std::uint16_t port, int receive_buffer = 0)
      : port_(port), fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval patience{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (receive_buffer > 0)
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  }
  http_peer(http_peer&& other) noexcept
      : port_(other.port_),
        fd_(std::exchange(other.fd_, -1)),
        connected_(other.connected_),
        in_(std::move(other.in_)) {}
  ~http_peer() { hang_up(); }

  bool connected() const { return connected_; }
  void hang_up() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void stop_sending() { ::shutdown(fd_, SHUT_WR); }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  /// Head with Host, length and what else is given (whole lines with CRLF), then the body.
  std::string request(std::string_view method, std::string_view target, std::string_view body = {},
                      std::string_view more_headers = {}) const {
    std::string out = std::string(method) + " " + std::string(target) +
                      " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port_) + "\r\n";
    if (!body.empty()) out += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return out + std::string(more_headers) + "\r\n" + std::string(body);
  }
  reply ask(std::string_view method, std::string_view target, std::string_view body = {},
            std::string_view more = {}) {
    send(request(method, target, body, more));
    return read_reply(method == "HEAD");
  }

  /// Status 0 if the connection ended or nothing came.
  reply read_reply(bool head_only = false) {
    reply out = read_head();
    if (out.status == 0 || head_only || out.status == 204) return out;
    if (const auto it = out.headers.find("content-length"); it != out.headers.end()) {
      out.body = take(std::strtoul(it->second.c_str(), nullptr, 10));
    } else if (out.headers.contains("transfer-encoding")) {
      while (auto chunk = read_chunk()) out.body += *chunk;
    } else {
      while (fill()) {
      }
      out.body = std::exchange(in_, {});
    }
    return out;
  }

  reply read_head() {
    reply out;
    std::size_t end;
    while ((end = in_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill()) return out;
    }
    out.raw_head = take(end + 4);
    parse_head(out);
    return out;
  }

  /// Nothing at the last chunk or at the end of the connection.
  std::optional<std::string> read_chunk() {
    std::size_t line;
    while ((line = in_.find("\r\n")) == std::string::npos) {
      if (!fill()) return std::nullopt;
    }
    const auto size = std::strtoul(in_.c_str(), nullptr, 16);
    take(line + 2);
    auto data = take(size);
    take(2);
    ended_well_ = size == 0;
    if (size == 0) return std::nullopt;
    return data;
  }
  bool ended_well() const { return ended_well_; }

  /// Reads until that text has come; what came, up to and with it. Empty if it never does.
  std::string read_until(std::string_view text) {
    std::size_t at;
    while ((at = in_.find(text)) == std::string::npos) {
      if (!fill()) return {};
    }
    return take(at + text.size());
  }

  /// True if the server ends the connection (cleanly or by reset) before sending another byte.
  bool closed_by_server() { return in_.empty() && !fill(); }

 private:
  bool fill() {
    char area[16384];
    const auto n = ::recv(fd_, area, sizeof area, 0);
    if (n > 0) in_.append(area, static_cast<std::size_t>(n));
    return n > 0;
  }
  std::string take(std::size_t count) {
    while (in_.size() < count && fill()) {
    }
    std::string out = in_.substr(0, count);
    in_.erase(0, count);
    return out;
  }
  static void parse_head(reply& out) {
    std::string_view rest = out.raw_head;
    if (rest.size() > 12) out.status = static_cast<unsigned>(std::atoi(out.raw_head.c_str() + 9));
    rest.remove_prefix(std::min(rest.find("\r\n") + 2, rest.size()));
    while (rest.size() > 2) {
      const auto line = rest.substr(0, rest.find("\r\n"));
      const auto colon = line.find(": ");
      std::string name(line.substr(0, colon));
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      out.headers[name] = line.substr(colon + 2);
      rest.remove_prefix(line.size() + 2);
    }
  }

  std::uint16_t port_;
  int fd_;
  bool connected_ = false, ended_well_ = false;
  std::string in_;
};

}  // namespace collm::gateway::fake
