// The HTTP client against servers that answer well, badly and not at all.
#include "bench/http_client.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace collm::bench {
namespace {

using namespace std::chrono_literals;

/// Takes one connection, reads one request, then does what the test says.
class one_answer_server {
 public:
  explicit one_answer_server(std::function<void(int)> answer)
      : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof where;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&where), length), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&where), &length);
    port_ = ntohs(where.sin_port);
    thread_ = std::thread([this, answer = std::move(answer)] {
      const int peer = ::accept(listener_, nullptr, nullptr);
      read_request(peer);
      answer(peer);
      ::close(peer);
    });
  }
  ~one_answer_server() {
    thread_.join();
    ::close(listener_);
  }
  http_client client() const { return http_client({"127.0.0.1", std::to_string(port_), ""}); }
  const std::string& request() const { return request_; }

 private:
  void read_request(int peer) {
    char bytes[4096];
    while (request_.find("\r\n\r\n") == std::string::npos || request_.size() < wanted()) {
      const auto got = ::read(peer, bytes, sizeof bytes);
      if (got <= 0) return;
      request_.append(bytes, static_cast<std::size_t>(got));
    }
  }
  std::size_t wanted() const {
    const auto at = request_.find("Content-Length: ");
    if (at == std::string::npos) return 0;
    return request_.find("\r\n\r\n") + 4 + std::stoul(request_.substr(at + 16));
  }

  int listener_;
  std::uint16_t port_ = 0;
  std::string request_;
  std::thread thread_;
};

void write_all(int peer, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const auto wrote = ::send(peer, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (wrote <= 0) return;
    done += static_cast<std::size_t>(wrote);
  }
}

std::string chunk(const std::string& text) {
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", text.size());
  return size + text + "\r\n";
}

const std::string stream_head =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

http_call get(const std::string& target) {
  http_call call;
  call.target = target;
  return call;
}

TEST(parse_url, takes_host_port_and_path) {
  const auto url = parse_url("http://127.0.0.1:8080");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->host, "127.0.0.1");
  EXPECT_EQ(url->port, "8080");
  EXPECT_EQ(url->path, "");
  EXPECT_EQ(parse_url("http://localhost")->port, "80");
  EXPECT_EQ(parse_url("http://a:1/v1/")->path, "/v1");
  EXPECT_EQ(parse_url("http://[::1]:9")->host, "::1");
  EXPECT_EQ(parse_url("http://[::1]:9")->port, "9");
}

TEST(parse_url, refuses_the_rest) {
  for (const char* text : {"", "127.0.0.1:80", "ftp://a", "http://", "http://:80",
                           "http://a:", "http://a:x", "http://a:123456"}) {
    EXPECT_FALSE(parse_url(text)) << text;
  }
  EXPECT_TRUE(parse_url("https://a/v1")->tls);
  EXPECT_EQ(parse_url("https://a/v1")->port, "443");
  EXPECT_FALSE(parse_url("http://a:1")->tls);
}

TEST(http_client, sends_a_request_and_reads_the_answer) {
  one_answer_server server([](int peer) {
    write_all(peer, "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nX-Some: Thing\r\n\r\nhello");
  });
  http_call call = get("/v1/things?x=1");
  call.method = "POST";
  call.body = "{}";
  call.headers = {{"Authorization", "Bearer key"}};
  const auto reply = server.client().send(call);
  ASSERT_TRUE(reply) << reply.failure().message;
  EXPECT_EQ(reply->status, 404u);
  EXPECT_FALSE(reply->ok());
  EXPECT_EQ(reply->body, "hello");
  EXPECT_EQ(reply->header("x-some"), "Thing");
  EXPECT_EQ(reply->header("x-other"), "");
  EXPECT_TRUE(server.request().starts_with("POST /v1/things?x=1 HTTP/1.1\r\n")) << server.request();
  EXPECT_NE(server.request().find("Authorization: Bearer key\r\n"), std::string::npos);
  EXPECT_TRUE(server.request().ends_with("\r\n\r\n{}"));
}

TEST(http_client, gives_events_as_they_come) {
  one_answer_server server([](int peer) {
    write_all(peer, stream_head + chunk("data: one\n\nda") +
                        chunk("ta: two\r\n\r\n: keep-alive\n\n") + chunk("data: [DONE]\n\n") +
                        "0\r\n\r\n");
  });
  std::vector<std::string> events;
  const auto reply = server.client().stream(get("/"), [&](std::string_view data) {
    events.emplace_back(data);
    return true;
  });
  ASSERT_TRUE(reply) << reply.failure().message;
  EXPECT_EQ(events, (std::vector<std::string>{"one", "two", "[DONE]"}));
}

TEST(http_client, goes_away_when_the_reader_has_enough) {
  std::atomic<bool> gone{false};
  {
    one_answer_server server([&](int peer) {
      write_all(peer, stream_head + chunk("data: one\n\n"));
      char byte;
      gone = ::read(peer, &byte, 1) <= 0;  // the client's end, not a byte
    });
    const auto reply = server.client().stream(get("/"), [](std::string_view) { return false; });
    EXPECT_TRUE(reply) << reply.failure().message;
  }
  EXPECT_TRUE(gone);
}

TEST(http_client, keeps_the_body_of_a_refused_stream) {
  one_answer_server server([](int peer) {
    write_all(peer, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 2\r\n\r\nbusy");
  });
  const auto reply = server.client().stream(
      get("/"), [](std::string_view) { return ADD_FAILURE() << "no event", true; });
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 503u);
  EXPECT_EQ(reply->body, "busy");
  EXPECT_EQ(reply->header("retry-after"), "2");
}

TEST(http_client, tells_nobody_from_silence_from_garbage) {
  EXPECT_EQ(http_client({"127.0.0.1", "1", ""}).send(get("/")).failure().code, errc::unavailable);
  {
    one_answer_server silent([](int peer) {
      char byte;
      (void)!::read(peer, &byte, 1);  // until the client gives up
    });
    http_call call = get("/");
    call.silence_timeout = 50ms;
    EXPECT_EQ(silent.client().send(call).failure().code, errc::timeout);
  }
  one_answer_server garbled([](int peer) { write_all(peer, "no such protocol\r\n\r\n"); });
  EXPECT_EQ(garbled.client().send(get("/")).failure().code, errc::corrupt);
}

TEST(http_client, notices_an_answer_that_breaks_off) {
  one_answer_server server(
      [](int peer) { write_all(peer, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"); });
  const auto reply = server.client().send(get("/"));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.failure().code, errc::unavailable);
}

TEST(sse_reader, gives_the_same_events_however_the_bytes_are_cut) {
  const std::string bytes =
      ": hello\n\ndata: a\ndata: b\n\nevent: status\ndata:{\"x\":1}\r\n\r\nid: 3\ndata: last\n\n";
  for (std::size_t size = 1; size <= bytes.size(); ++size) {
    sse_reader reader;
    std::vector<std::string> events;
    for (std::size_t at = 0; at < bytes.size(); at += size) {
      EXPECT_TRUE(reader.push(std::string_view(bytes).substr(at, size), [&](std::string_view data) {
        events.emplace_back(data);
        return true;
      }));
    }
    EXPECT_EQ(events, (std::vector<std::string>{"a\nb", "{\"x\":1}", "last"}))
        << "cut every " << size;
  }
}

}  // namespace
}  // namespace collm::bench
