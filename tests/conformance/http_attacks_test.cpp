// What an attacker with nothing but the port may try: slow and endless requests, many connections,
// two readings of one request. Each costs the gateway a bounded amount and nobody else an answer.
#include <fcntl.h>
#include <sys/resource.h>

#include <fstream>

#include "tests/support/http_fixture.hpp"

namespace collm::gateway::fake {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr const char* prompt_body = R"({"prompt":"a"})";

class http_attacks : public http_test {
 protected:
  /// A request that is under way until the test ends it.
  submission submit(http_peer& client, const std::string& key = "") {
    client.send(client.request("POST", "/v1/completions", prompt_body, bearer(key)));
    auto s = runtime.take();
    EXPECT_TRUE(s);
    return s.value_or(submission{});
  }
  static std::string bearer(const std::string& key) {
    return key.empty() ? "" : "Authorization: Bearer " + key + "\r\n";
  }
  static void end(const submission& s) {
    s.to->reject(reject(s.id, "overloaded", "the test is over"));
  }
  bool serves() { return ask("GET", "/health").status == 200; }
};

std::uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::uint64_t pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// -- slow and endless

TEST_F(http_attacks, bytes_do_not_extend_the_body_deadline) {
  options.timeouts.body = milliseconds(150);
  auto client = peer();
  client.send(client.request("POST", "/v1/completions", {}, "Content-Length: 100000\r\n"));
  while (client.send("x") && client.nothing_came()) ASSERT_TRUE(serves());
  EXPECT_EQ(client.read_reply().status, 408u);
}

TEST_F(http_attacks, five_hundred_slow_headers_hold_up_nobody) {
  options.bounds.connections_max = 2000;
  std::vector<http_peer> slow;
  for (int i = 0; i < 500; ++i) {
    slow.push_back(peer());
    ASSERT_TRUE(slow.back().send("GET /health HTTP/1.1\r\nHost: "));
  }
  EXPECT_TRUE(serves());
  for (auto& s : slow) ASSERT_TRUE(s.send("l"));
  EXPECT_TRUE(serves());
}

TEST_F(http_attacks, slow_headers_at_the_limit_give_way_and_requests_under_way_do_not) {
  options.bounds.connections_max = 8;
  auto working = peer();
  const auto under_way = submit(working);
  std::vector<http_peer> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(peer());
    slow.back().send("GET /health HTTP/1.1\r\nHost: ");
  }
  EXPECT_TRUE(serves());
  EXPECT_TRUE(slow.front().closed_by_server()) << "the one that has longest begun";
  end(under_way);
  EXPECT_EQ(working.read_reply().status, 503u);
}

TEST_F(http_attacks, one_tenants_uploads_leave_the_others_half_of_the_room) {
  options.tenants = {{"cook", sha256_hex("cook-key"), ""}, {"baker", sha256_hex("baker-key"), ""}};
  options.bounds.request_bytes_max = 10'000;
  options.bounds.bodies_max = 4;
  const auto begin_upload = [&](const std::string& key) {
    auto client = peer();
    client.send(
        client.request("POST", "/v1/completions", {}, bearer(key) + "Content-Length: 10000\r\n"));
    client.send(std::string(9'000, 'x'));
    return client;
  };
  auto first = begin_upload("cook-key"), second = begin_upload("cook-key");
  EXPECT_TRUE(serves());
  auto third = begin_upload("cook-key");
  EXPECT_EQ(third.read_reply().status, 503u);
  auto other = begin_upload("baker-key");
  EXPECT_TRUE(serves());
  EXPECT_TRUE(other.nothing_came());
}

TEST_F(http_attacks, headers_without_end_are_431_at_the_limit) {
  for (const std::string& line : {std::string("a:b\r\n"), "x: " + std::string(4000, 'y') + "\r\n",
                                  std::string(" folded\r\n")}) {
    auto client = peer();
    client.send("GET /health HTTP/1.1\r\nHost: localhost\r\nx: y\r\n");
    for (std::size_t sent = 0; sent < 2 * options.bounds.header_bytes_max; sent += line.size())
      if (!client.send(line)) break;
    EXPECT_EQ(client.read_reply().status, 431u) << line.substr(0, 10);
    EXPECT_TRUE(client.closed_by_server());
  }
}

TEST_F(http_attacks, chunks_may_not_hide_bytes_from_the_bounds) {
  options.bounds.request_bytes_max = 10'000;
  const auto after_head = [&](const std::string& bytes) {
    auto client = peer();
    client.send(client.request("POST", "/admin/v1/drain", {}, "Transfer-Encoding: chunked\r\n"));
    client.send(bytes);
    return client.read_reply().status;
  };
  std::string crumbs;
  for (int i = 0; i < 10'001; ++i) crumbs += "1\r\nx\r\n";
  EXPECT_EQ(after_head(crumbs), 413u);
  EXPECT_EQ(after_head("5;" + std::string(100'000, 'e')), 431u) << "an extension without end";
  EXPECT_EQ(after_head("5" + std::string(100'000, ' ')), 431u);
  EXPECT_EQ(after_head("0\r\n" + std::string(100'000, 't')), 431u) << "a trailer without end";
  for (const char* size : {"ffffffffffffffff\r\n", "fffffffffffffffff\r\n", "-1\r\n", "0x5\r\n",
                           "g\r\n", "\r\n", "5 5\r\n", "7fffffffffffffff\r\n"}) {
    const auto status = after_head(size + std::string(100, 'x') + "\r\n\r\n");
    EXPECT_TRUE(status == 400 || status == 413) << size << " " << status;
  }
}

TEST_F(http_attacks, a_length_that_no_body_can_have_is_refused_from_the_header) {
  for (const char* length : {"99999999999999999999999", "18446744073709551616", "4294967296000"}) {
    auto client = peer();
    client.send(client.request("POST", "/v1/completions", {},
                               std::string("Content-Length: ") + length + "\r\n"));
    const auto status = client.read_reply().status;
    EXPECT_TRUE(status == 400 || status == 413) << length << " " << status;
  }
}

TEST_F(http_attacks, bodies_under_way_share_a_bound_and_refused_ones_are_not_kept) {
  options.bounds.request_bytes_max = 1000;
  options.tenants = {{"acme", sha256_hex("k"), "", true, 0, 0},
                     {"bolt", sha256_hex("l"), "", true, 0, 0}};
  const auto begin = [&](const std::string& key) {
    auto client = peer();
    client.send(
        client.request("POST", "/v1/completions", {}, bearer(key) + "Content-Length: 1000\r\n") +
        std::string(999, 'x'));
    // Answered behind what came before it on the only thread.
    EXPECT_TRUE(serves());
    return client;
  };
  std::vector<http_peer> open;
  for (int i = 0; i < 40; ++i) open.push_back(begin("wrong"));
  for (int i = 0; i < 16; ++i) open.push_back(begin(i % 2 == 0 ? "k" : "l"));
  for (auto& c : open) EXPECT_TRUE(c.nothing_came());
  auto too_many = begin("k");
  const auto r = too_many.read_reply();
  EXPECT_EQ(r.status, 503u);
  EXPECT_EQ(r.headers.at("retry-after-ms"), "1000");
  open.back().hang_up();
  EXPECT_TRUE(serves());
  auto next = begin("l");
  EXPECT_TRUE(next.nothing_came()) << "room was made";
}

// -- many connections

TEST_F(http_attacks, a_new_connection_closes_the_one_that_is_idle_for_longest) {
  options.bounds.connections_max = 3;
  std::vector<http_peer> idle;
  for (int i = 0; i < 3; ++i) {
    idle.push_back(peer());
    EXPECT_EQ(idle.back().ask("GET", "/health").status, 200u);
  }
  EXPECT_EQ(idle[0].ask("GET", "/health").status, 200u) << "the first is idle for shortest now";
  auto fresh = peer();
  EXPECT_EQ(fresh.ask("GET", "/health").status, 200u);
  EXPECT_TRUE(idle[1].closed_by_server());
  EXPECT_EQ(idle[0].ask("GET", "/health").status, 200u);
  EXPECT_EQ(idle[2].ask("GET", "/health").status, 200u);
  EXPECT_EQ(server().connections_refused(), 0u);
  EXPECT_THAT(idle[2].ask("GET", "/metrics").body,
              HasSubstr("collm_gateway_connections_evicted_total 1\n"));
}

TEST_F(http_attacks, who_is_being_answered_does_not_give_way) {
  options.bounds.connections_max = 2;
  auto first = peer(), second = peer();
  const auto a = submit(first), b = submit(second);
  auto third = peer();
  EXPECT_EQ(third.read_reply().status, 503u);
  end(a);
  end(b);
  EXPECT_EQ(first.read_reply().status, 503u) << "the answer that the test gave";
  EXPECT_EQ(second.read_reply().status, 503u);
}

/// 10,000 idle connections, or as many as this system lets one process have.
TEST_F(http_attacks, ten_thousand_idle_connections_stay_within_the_bound_and_hold_up_nobody) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const auto before = files;
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 12'000);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  const std::size_t count = std::min<std::size_t>(10'000, files.rlim_cur - 1'200);
  RecordProperty("connections", std::to_string(count));
  ASSERT_TRUE(serves());
  const auto resident = resident_bytes();
  {
    std::vector<http_peer> idle;
    idle.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      idle.push_back(peer());
      ASSERT_TRUE(idle.back().connected()) << i;
      if (i % 500 == 499) {
        ASSERT_TRUE(serves()) << i;
      }
    }
    EXPECT_LE(server().connections_open(), options.bounds.connections_max);
#ifndef __SANITIZE_ADDRESS__
    EXPECT_LT(resident_bytes() - resident, 64u << 20);
#endif
    EXPECT_TRUE(serves());
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(http_attacks, one_address_gets_its_share_of_the_connections) {
  options.address_connections_max = 2;
  const auto from = [&](std::uint8_t last) { return http_peer(server().port(), 0, last); };
  auto first = from(2), second = from(2);
  EXPECT_EQ(first.ask("GET", "/health").status, 200u);
  EXPECT_EQ(second.ask("GET", "/health").status, 200u);
  auto third = from(2);
  EXPECT_EQ(third.ask("GET", "/health").status, 200u);
  EXPECT_TRUE(first.closed_by_server()) << "its own oldest gave way";
  const auto a = submit(second), b = submit(third);
  auto fourth = from(2);
  EXPECT_EQ(fourth.read_reply().status, 503u);
  auto other = from(3);
  EXPECT_EQ(other.ask("GET", "/health").status, 200u);
  end(a);
  end(b);
}

TEST_F(http_attacks, one_tenant_gets_its_share_of_the_connections) {
  options.bounds.connections_max = 4;
  options.tenants = {{"acme", sha256_hex("k1"), "", true, 0, 0},
                     {"bolt", sha256_hex("k2"), "", true, 0, 0}};
  auto first = peer(), second = peer(), third = peer(), other = peer();
  const auto a = submit(first, "k1"), b = submit(second, "k1");
  const auto refused = third.ask("POST", "/v1/completions", prompt_body, bearer("k1"));
  EXPECT_EQ(refused.status, 429u);
  EXPECT_TRUE(refused.headers.contains("retry-after-ms"));
  EXPECT_THAT(error_of(refused)["message"].get<std::string>(), HasSubstr("acme has 2 requests"));
  const auto c = submit(other, "k2");
  end(a);
  EXPECT_EQ(first.read_reply().status, 503u);
  const auto again = submit(third, "k1");
  for (const auto& s : {b, c, again}) end(s);
}

// -- one connection, many requests

TEST_F(http_attacks, a_thousand_pipelined_requests_are_answered_in_order) {
  auto client = peer();
  std::string all;
  for (int i = 0; i < 1000; ++i) all += client.request("GET", i % 2 == 0 ? "/version" : "/nowhere");
  std::thread sender([&] { EXPECT_TRUE(client.send(all)); });
  for (int i = 0; i < 1000; ++i)
    ASSERT_EQ(client.read_reply().status, i % 2 == 0 ? 200u : 404u) << i;
  sender.join();
}

TEST_F(http_attacks, what_is_sent_ahead_of_an_answer_stays_in_the_senders_system) {
  auto client = peer();
  const auto s = submit(client);
  const std::string ahead =
      client.request("GET", "/version", {}, "X: " + std::string(8000, 'x') + "\r\n");
  std::size_t taken = 0;
  constexpr std::size_t far_too_much = 64u << 20;
  while (taken < far_too_much) {
    const auto n = client.send_now(ahead);
    if (n == 0) break;
    taken += n;
  }
  EXPECT_LT(taken, far_too_much);
  EXPECT_TRUE(serves());
  end(s);
}

// -- two readings of one request

struct ambiguous {
  const char* name;
  std::string bytes;
};
void PrintTo(const ambiguous& a, std::ostream* out) { *out << a.name; }

class http_smuggling : public http_attacks, public testing::WithParamInterface<ambiguous> {};

/// The request in the body of the ambiguous one is never read as a request.
TEST_P(http_smuggling, is_refused_and_its_connection_closed) {
  auto client = peer();
  const std::string inner = client.request("POST", "/admin/v1/shutdown");
  client.send("POST /v1/completions HTTP/1.1\r\nHost: localhost:" +
              std::to_string(server().port()) + "\r\n" + GetParam().bytes + inner);
  auto r = client.read_reply();
  EXPECT_EQ(r.status, 400u) << r.body;
  EXPECT_EQ(r.headers["connection"], "close");
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_FALSE(runtime.shut_down);
  EXPECT_EQ(runtime.submitted_count(), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    headers, http_smuggling,
    testing::Values(
        ambiguous{"length_and_chunked",
                  "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "0\r\n\r\n"},
        ambiguous{"chunked_and_length",
                  "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
                  "0\r\n\r\n"},
        ambiguous{"two_lengths", "Content-Length: 0\r\nContent-Length: 5\r\n\r\n"},
        ambiguous{"one_length_twice", "Content-Length: 0\r\nContent-Length: 0\r\n\r\n"},
        ambiguous{"list_of_lengths", "Content-Length: 0, 0\r\n\r\n"},
        ambiguous{"signed_length", "Content-Length: +0\r\n\r\n"},
        ambiguous{"negative_length", "Content-Length: -1\r\n\r\n"},
        ambiguous{"spaced_length", "Content-Length: 0 0\r\n\r\n"},
        ambiguous{"hex_length", "Content-Length: 0x0\r\n\r\n"},
        ambiguous{"length_before_space", "Content-Length : 0\r\n\r\n"},
        ambiguous{"chunked_twice",
                  "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
                  "\r\n0\r\n\r\n"},
        ambiguous{"chunked_listed_twice", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
        ambiguous{"unknown_coding", "Transfer-Encoding: xchunked\r\n\r\n"},
        ambiguous{"identity", "Transfer-Encoding: identity\r\n\r\n"},
        ambiguous{"chunked_then_identity", "Transfer-Encoding: chunked, identity\r\n\r\n"},
        ambiguous{"gzip_then_chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
        ambiguous{"quoted_chunked", "Transfer-Encoding: \"chunked\"\r\n\r\n"},
        ambiguous{"vertical_tab",
                  "Transfer-Encoding: \x0b"
                  "chunked\r\n\r\n0\r\n\r\n"},
        ambiguous{"bare_line_feed", "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        ambiguous{"bare_carriage_return", "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        ambiguous{"two_hosts", "Host: localhost\r\nContent-Length: 0\r\n\r\n"}),
    [](const auto& made) { return made.param.name; });

TEST_F(http_attacks, http_1_0_has_no_chunks) {
  auto client = peer();
  client.send("POST /v1/completions HTTP/1.0\r\nHost: localhost:" +
              std::to_string(server().port()) + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  EXPECT_EQ(client.read_reply().status, 400u);
  EXPECT_TRUE(client.closed_by_server());
}

// -- what is no text

TEST_F(http_attacks, bytes_that_are_no_text_are_refused_in_words_that_are) {
  auto client = peer();
  const auto path = client.ask("GET", "/v1/\xff\xfe");
  EXPECT_TRUE(path.status == 404 || path.status == 400) << path.status;
  error_of(path);
  const auto body = peer().ask("POST", "/v1/completions", "{\"prompt\":\"\xff\xfe\"}");
  EXPECT_EQ(body.status, 400u);
  error_of(body);
  const auto header = peer().ask("GET", "/health", {}, "X: \xff\xfe\r\nX-Request-Id: \xff\r\n");
  EXPECT_TRUE(header.status == 200 || header.status == 400) << header.status;
  EXPECT_TRUE(serves());
}

}  // namespace
}  // namespace collm::gateway::fake
