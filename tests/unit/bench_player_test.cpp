// The player against servers that answer, refuse, break and dawdle, each on a loopback socket.
#include "bench/player.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace collm::bench {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

/// What a test's server does with one request: it writes to `peer` whatever it likes.
using behaviour = std::function<void(int peer, const json& body)>;

/// Takes connections until it is destroyed, each on a thread of its own; one request each.
class tiny_server {
 public:
  explicit tiny_server(behaviour answer)
      : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof where;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&where), length), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&where), &length);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(where.sin_port));
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~tiny_server() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    for (auto& t : sessions_) t.join();
    ::close(listener_);
  }
  const std::string& url() const { return url_; }

 private:
  void accept_all() {
    for (int peer; (peer = ::accept(listener_, nullptr, nullptr)) >= 0;) {
      sessions_.emplace_back([this, peer] {
        answer_(peer, body_of(peer));
        ::close(peer);
      });
    }
  }
  static json body_of(int peer) {
    std::string got;
    char bytes[4096];
    for (;;) {
      const auto head = got.find("\r\n\r\n");
      if (head != std::string::npos) {
        const auto at = got.find("Content-Length: ");
        const auto wanted = at == std::string::npos ? 0 : std::stoul(got.substr(at + 16));
        if (got.size() >= head + 4 + wanted)
          return json::parse(got.substr(head + 4), nullptr, false);
      }
      const auto n = ::read(peer, bytes, sizeof bytes);
      if (n <= 0) return {};
      got.append(bytes, static_cast<std::size_t>(n));
    }
  }

  behaviour answer_;
  int listener_;
  std::string url_;
  std::thread acceptor_;
  std::vector<std::thread> sessions_;
};

void write_all(int peer, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const auto n = ::send(peer, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (n <= 0) return;
    done += static_cast<std::size_t>(n);
  }
}

/// A stream without a length: the connection's end is its end.
void begin_stream(int peer) {
  write_all(peer,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
}
void send_event(int peer, const json& event) { write_all(peer, "data: " + event.dump() + "\n\n"); }
void send_piece(int peer, const std::string& text, const json& finish = nullptr) {
  json choice = {{"index", 0}, {"delta", {{"content", text}}}, {"finish_reason", finish}};
  send_event(peer, {{"model", "assistant@3"}, {"choices", json::array({choice})}});
}
void end_stream(int peer, unsigned prompt, unsigned completion) {
  send_event(peer, {{"choices", json::array()},
                    {"usage", {{"prompt_tokens", prompt}, {"completion_tokens", completion}}}});
  write_all(peer, "data: [DONE]\n\n");
}
void answer_well(int peer, const json&) {
  begin_stream(peer);
  send_piece(peer, "two ");
  send_piece(peer, "words", "stop");
  end_stream(peer, 5, 2);
}
void say_status(int peer, const std::string& status, const std::string& message) {
  const auto body = json{{"error", {{"message", message}}}}.dump();
  write_all(peer, "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\nContent-Length: " +
                      std::to_string(body.size()) + "\r\n\r\n" + body);
}

workload asking(std::size_t count, std::uint64_t every_ms = 0) {
  workload w;
  for (std::size_t i = 0; i < count; ++i) {
    request r;
    r.t_ms = i * every_ms;
    r.adapter = "assistant";
    r.messages = {{"user", "question " + std::to_string(i)}};
    w.requests.push_back(r);
  }
  return w;
}

play_result played(const workload& w, const tiny_server& server, std::uint32_t at_once = 16) {
  play_options o;
  o.gateways[""] = server.url();
  o.max_concurrency = at_once;
  auto done = play(w, o);
  EXPECT_TRUE(done) << done.failure().message;
  return done ? std::move(*done) : play_result{};
}

/// Lets threads go once `count` of them are here; after 10 s the test fails.
class gathering {
 public:
  explicit gathering(std::size_t count) : count_(count) {}
  void wait() {
    std::unique_lock lock(mutex_);
    ++here_;
    changed_.notify_all();
    EXPECT_TRUE(changed_.wait_for(lock, 10s, [&] { return here_ >= count_; }));
  }

 private:
  std::size_t count_, here_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
};

TEST(player, notes_text_tokens_and_who_answered) {
  tiny_server server(answer_well);
  const auto done = played(asking(1), server);
  const auto& r = done.requests.at(0);
  EXPECT_EQ(r.how, outcome::answered) << r.error;
  EXPECT_EQ(r.text, "two words");
  EXPECT_EQ(r.answered_by, "assistant@3");
  EXPECT_EQ(r.prompt_tokens, 5u);
  EXPECT_EQ(r.output_tokens, 2u);
  EXPECT_EQ(r.itl_ms.size(), 1u);
  EXPECT_GE(r.ttft_ms, r.sent_ms);
  EXPECT_GE(r.e2el_ms, r.ttft_ms);
}

TEST(player, asks_as_the_workload_says) {
  json seen;
  {
    tiny_server server([&](int peer, const json& body) {
      seen = body;
      answer_well(peer, body);
    });
    auto w = asking(1);
    w.requests[0].max_tokens = 7;
    played(w, server);
  }
  EXPECT_EQ(seen["model"], "assistant");
  EXPECT_EQ(seen["max_tokens"], 7);
  EXPECT_EQ(seen["temperature"], 0);
  EXPECT_EQ(seen["messages"][0]["content"], "question 0");
  EXPECT_TRUE(seen["stream_options"]["include_usage"].get<bool>());
  EXPECT_FALSE(seen.contains("ignore_eos"));
}

TEST(player, tells_refused_from_failed) {
  for (const auto& [status, how] :
       std::vector<std::pair<std::string, outcome>>{{"429 Too Many Requests", outcome::refused},
                                                    {"503 Service Unavailable", outcome::refused},
                                                    {"500 Internal Server Error", outcome::failed},
                                                    {"400 Bad Request", outcome::failed}}) {
    tiny_server server([&](int peer, const json&) { say_status(peer, status, "not now"); });
    const auto done = played(asking(1), server);
    EXPECT_EQ(done.requests.at(0).how, how) << status;
    EXPECT_EQ(done.requests.at(0).error, "HTTP " + status.substr(0, 3) + ": not now");
  }
}

TEST(player, counts_a_broken_stream_as_failed) {
  tiny_server server([](int peer, const json&) {
    begin_stream(peer);
    send_piece(peer, "two ");
  });
  const auto done = played(asking(1), server);
  EXPECT_EQ(done.requests.at(0).how, outcome::failed);
  EXPECT_EQ(done.requests.at(0).error, "the stream ended before the answer did");
  EXPECT_EQ(done.requests.at(0).text, "two ");
}

TEST(player, counts_an_answer_without_its_done_mark_as_failed) {
  tiny_server server([](int peer, const json&) {
    begin_stream(peer);
    send_piece(peer, "all", "stop");
  });
  EXPECT_EQ(played(asking(1), server).requests.at(0).how, outcome::failed);
}

TEST(player, counts_an_error_in_the_stream_as_failed) {
  tiny_server server([](int peer, const json&) {
    begin_stream(peer);
    send_piece(peer, "two ");
    send_event(peer, {{"error", {{"message", "the replica is gone"}}}});
    end_stream(peer, 5, 1);
  });
  const auto done = played(asking(1), server);
  EXPECT_EQ(done.requests.at(0).how, outcome::failed);
  EXPECT_EQ(done.requests.at(0).error, "the replica is gone");
}

TEST(player, counts_an_answer_cut_by_the_server_as_failed) {
  tiny_server server([](int peer, const json&) {
    begin_stream(peer);
    send_piece(peer, "half", "error");
    end_stream(peer, 5, 1);
  });
  const auto done = played(asking(1), server);
  EXPECT_EQ(done.requests.at(0).how, outcome::failed);
  EXPECT_EQ(done.requests.at(0).error, "finish_reason error");
}

TEST(player, counts_a_server_that_is_gone_as_failed) {
  std::string url;
  {
    tiny_server server(answer_well);
    url = server.url();
  }
  play_options o;
  o.gateways[""] = url;
  o.retry_for = 0ms;
  const auto done = play(asking(1), o);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->requests.at(0).how, outcome::failed);
  EXPECT_EQ(done->requests.at(0).retries, 0u);
  EXPECT_FALSE(done->requests.at(0).error.empty());
}

TEST(player, sends_again_what_nobody_answered_at_all) {
  std::atomic<int> asked{0};
  tiny_server server([&](int peer, const json& body) {
    if (++asked > 1) answer_well(peer, body);  // the first is hung up on
  });
  const auto done = played(asking(1), server);
  const auto& r = done.requests.at(0);
  EXPECT_EQ(r.how, outcome::answered) << r.error;
  EXPECT_EQ(r.retries, 1u);
  EXPECT_GE(r.ttft_ms, r.sent_ms + 249);  // the pause is counted
}

TEST(player, does_not_send_again_what_was_half_answered) {
  std::atomic<int> asked{0};
  tiny_server server([&](int peer, const json&) {
    ++asked;
    begin_stream(peer);
    send_piece(peer, "two ");
  });
  EXPECT_EQ(played(asking(1), server).requests.at(0).how, outcome::failed);
  EXPECT_EQ(asked.load(), 1);
}

TEST(player, sends_while_earlier_requests_are_open) {
  gathering all(4);
  tiny_server server([&](int peer, const json& body) {
    all.wait();  // nobody is answered before all have asked: a closed loop would stand still here
    answer_well(peer, body);
  });
  const auto done = played(asking(4, 5), server);
  for (const auto& r : done.requests) EXPECT_EQ(r.how, outcome::answered) << r.error;
  EXPECT_EQ(done.peak_concurrent, 4u);
}

TEST(player, keeps_to_the_bound_on_open_requests) {
  std::atomic<int> open{0}, most{0};
  gathering both(2);
  tiny_server server([&](int peer, const json& body) {
    const int now = ++open;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    both.wait();
    --open;  // before the answer's end, which lets the player send the next one
    answer_well(peer, body);
  });
  const auto done = played(asking(9), server, 2);
  EXPECT_EQ(most.load(), 2);
  EXPECT_EQ(done.peak_concurrent, 2u);
  for (const auto& r : done.requests) EXPECT_EQ(r.how, outcome::answered) << r.error;
}

TEST(player, counts_time_from_when_a_request_was_planned) {
  // One at a time, each served for 60 ms, all planned for the start: the third waited for two.
  tiny_server server([](int peer, const json& body) {
    std::mutex m;
    std::unique_lock lock(m);
    std::condition_variable never;
    never.wait_for(lock, 60ms, [] { return false; });
    answer_well(peer, body);
  });
  const auto done = played(asking(3), server, 1);
  EXPECT_GE(done.requests.at(0).ttft_ms, 59);
  EXPECT_GE(done.requests.at(2).sent_ms, 119);
  EXPECT_GE(done.requests.at(2).ttft_ms, 179);
  EXPECT_GE(done.requests.at(2).e2el_ms, done.requests.at(2).ttft_ms);
  EXPECT_GE(done.seconds, 0.179);
}

TEST(player, judges_answers) {
  tiny_server server(answer_well);
  auto w = asking(3);
  w.requests[0].judged_by = w.requests[1].judged_by = scorer::exact;
  w.requests[0].reference = "two words";
  w.requests[1].reference = "three words";
  const auto done = played(w, server);
  EXPECT_TRUE(done.requests.at(0).judged && done.requests.at(0).right);
  EXPECT_TRUE(done.requests.at(1).judged);
  EXPECT_FALSE(done.requests.at(1).right);
  EXPECT_FALSE(done.requests.at(2).judged);
}

TEST(player, calls_no_failed_answer_right) {
  tiny_server server([](int peer, const json&) {
    begin_stream(peer);
    send_piece(peer, "two words");
  });
  auto w = asking(1);
  w.requests[0].judged_by = scorer::exact;
  w.requests[0].reference = "two words";
  const auto done = played(w, server);
  EXPECT_TRUE(done.requests.at(0).judged);
  EXPECT_FALSE(done.requests.at(0).right);
}

TEST(player, sends_each_site_to_its_gateway) {
  std::atomic<int> kitchen{0}, rest{0};
  tiny_server one([&](int peer, const json& body) { ++kitchen, answer_well(peer, body); });
  tiny_server other([&](int peer, const json& body) { ++rest, answer_well(peer, body); });
  auto w = asking(3);
  w.requests[0].site = "kitchen";
  w.requests[1].site = "workshop";
  play_options o;
  o.gateways = {{"kitchen", one.url()}, {"", other.url()}};
  ASSERT_TRUE(play(w, o));
  EXPECT_EQ(kitchen.load(), 1);
  EXPECT_EQ(rest.load(), 2);
}

// What it waits for is later, or longer, than the test's own patience: only the stop ends it.
TEST(player, that_is_stopped_sends_nothing_more_and_waits_for_no_answer) {
  std::atomic<int> asked{0};
  std::promise<void> ended;
  const auto end = ended.get_future().share();
  tiny_server server([&](int peer, const json&) {
    if (++asked == 2) begin_stream(peer);  // the first has no byte, the second no end
    end.wait();
  });
  auto w = asking(3);
  w.requests[2].t_ms = 3'600'000;
  play_options o;
  o.gateways[""] = server.url();
  o.over = [&] { return asked >= 2; };
  const auto done = play(w, o);
  ended.set_value();
  ASSERT_FALSE(done) << "half a play is no result";
  EXPECT_EQ(done.failure().code, errc::cancelled);
  EXPECT_EQ(asked.load(), 2);
}

TEST(player, refuses_a_site_without_gateway) {
  auto w = asking(1);
  w.requests[0].site = "workshop";
  play_options o;
  o.gateways["kitchen"] = "http://127.0.0.1:1";
  const auto done = play(w, o);
  ASSERT_FALSE(done);
  EXPECT_NE(done.failure().message.find("'workshop'"), std::string::npos);
}

}  // namespace
}  // namespace collm::bench
