// A raw HTTP client for conformance tests: sends exactly the bytes it is told, reads one response
// at a time; over TLS once secure() was called. Every wait ends after 10 s, so that a broken server
// fails a test instead of hanging it.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
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
  /// `from`: the last byte of the address it comes from, 127.0.0.x; 0: the system's choice.
  explicit http_peer(std::uint16_t port, int receive_buffer = 0, std::uint8_t from = 0)
      : port_(port), fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval patience{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (receive_buffer > 0)
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (from > 0) {
      sockaddr_in here{};
      here.sin_family = AF_INET;
      here.sin_addr.s_addr = htonl((127u << 24) | from);
      ::bind(fd_, reinterpret_cast<const sockaddr*>(&here), sizeof here);
    }
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
        tls_(std::move(other.tls_)),
        in_(std::move(other.in_)) {}
  ~http_peer() { hang_up(); }

  bool connected() const { return connected_; }
  void hang_up() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void stop_sending() {
    if (tls_) SSL_shutdown(tls_.get());
    ::shutdown(fd_, SHUT_WR);
  }

  /// The TLS handshake, trusting whoever is there. False if it fails.
  bool secure() {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(
        SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    tls_.reset(SSL_new(context.get()));
    SSL_set_fd(tls_.get(), fd_);
    return SSL_connect(tls_.get()) == 1;
  }
  /// The server has said that nothing more comes, rather than just gone.
  bool farewell() const {
    return tls_ && (SSL_get_shutdown(tls_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = tls_ ? SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size()))
                          : ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
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

  /// What follows that head, dropped; to the end of the connection where nothing says how much.
  void skip_body(const reply& head) {
    const auto length = head.headers.find("content-length");
    if (head.status == 100 || head.status == 204) return;
    if (length != head.headers.end()) {
      take(std::strtoul(length->second.c_str(), nullptr, 10));
    } else if (head.headers.contains("transfer-encoding")) {
      while (read_chunk()) {
      }
    } else {
      while (fill()) {
      }
      in_.clear();
    }
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

  /// Nothing has come that was not read yet, and the connection stands.
  bool nothing_came() {
    char byte;
    return in_.empty() && ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
  }
  /// Sends what the system takes without waiting, 0: nothing. Not over TLS.
  std::size_t send_now(std::string_view bytes) {
    const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return n > 0 ? static_cast<std::size_t>(n) : 0;
  }

  /// Drops what still comes; true once the server ends the connection, false if nothing comes for
  /// 10 s.
  bool ends() {
    while (fill()) {
    }
    in_.clear();
    return errno != EAGAIN && errno != EWOULDBLOCK;
  }

  /// True if the server ends the connection (cleanly or by reset) before sending another byte.
  bool closed_by_server() { return in_.empty() && !fill(); }

 private:
  bool fill() {
    char area[16384];
    errno = 0;
    const auto n =
        tls_ ? SSL_read(tls_.get(), area, sizeof area) : ::recv(fd_, area, sizeof area, 0);
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
  std::unique_ptr<SSL, decltype(&SSL_free)> tls_{nullptr, SSL_free};
  std::string in_;
};

}  // namespace collm::gateway::fake
