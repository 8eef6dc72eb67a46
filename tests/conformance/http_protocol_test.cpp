// HTTP/1.1 itself: limits, deadlines, pipelining, framing, Host and Origin.
#include "tests/support/http_fixture.hpp"

namespace collm::gateway::fake {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class http_protocol : public http_test {
 protected:
  /// GET /health whose request line and headers have exactly `bytes` bytes.
  std::string header_of(http_peer& client, std::size_t bytes) {
    const auto bare = client.request("GET", "/health", {}, "X-Pad: \r\n").size();
    return client.request("GET", "/health", {},
                          "X-Pad: " + std::string(bytes - bare, 'p') + "\r\n");
  }
};

TEST_F(http_protocol, a_connection_is_kept_and_every_response_has_a_request_id) {
  auto client = peer();
  const auto first = client.ask("GET", "/health"), second = client.ask("GET", "/health");
  EXPECT_EQ(first.status, 200u);
  EXPECT_EQ(second.status, 200u);
  EXPECT_EQ(first.headers.at("connection"), "keep-alive");
  EXPECT_NE(first.headers.at("x-request-id"), second.headers.at("x-request-id"));
}

TEST_F(http_protocol, a_usable_request_id_is_echoed_and_any_other_is_not) {
  EXPECT_EQ(ask("GET", "/health", {}, "X-Request-Id: ab-1_2.C\r\n").headers.at("x-request-id"),
            "ab-1_2.C");
  EXPECT_NE(ask("GET", "/health", {}, "X-Request-Id: a b\r\n").headers.at("x-request-id"), "a b");
  const std::string longest(64, 'a');
  EXPECT_EQ(
      ask("GET", "/health", {}, "X-Request-Id: " + longest + "\r\n").headers.at("x-request-id"),
      longest);
  EXPECT_NE(
      ask("GET", "/health", {}, "X-Request-Id: " + longest + "a\r\n").headers.at("x-request-id"),
      longest + "a");
}

TEST_F(http_protocol, connection_close_is_obeyed) {
  auto client = peer();
  EXPECT_EQ(client.ask("GET", "/health", {}, "Connection: close\r\n").headers.at("connection"),
            "close");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(http_protocol, pipelined_requests_are_answered_in_order) {
  auto client = peer();
  const std::string body = R"({"prompt":"a"})";
  client.send(client.request("GET", "/version") + client.request("POST", "/v1/completions", body) +
              client.request("GET", "/nowhere") + client.request("GET", "/health"));
  EXPECT_THAT(client.read_reply().body, HasSubstr("version"));
  const auto s = runtime.take();
  ASSERT_TRUE(s);
  s->to->accepted(accepted(s->id));
  s->to->chunk(chunk(s->id, "slow", {}, schema::FinishReason::STOP));
  s->to->finish(finish(s->id, schema::FinishReason::STOP));
  EXPECT_THAT(client.read_reply().body, HasSubstr("slow"));
  EXPECT_EQ(client.read_reply().status, 404u);
  EXPECT_EQ(client.read_reply().status, 200u);
}

TEST_F(http_protocol, requests_sent_before_a_half_close_are_all_answered) {
  auto client = peer();
  client.send(client.request("GET", "/version") + client.request("GET", "/health"));
  client.stop_sending();
  EXPECT_EQ(client.read_reply().status, 200u);
  EXPECT_EQ(client.read_reply().status, 200u);
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(http_protocol, a_request_may_come_byte_by_byte) {
  auto client = peer();
  const auto bytes = client.request("POST", "/admin/v1/drain", R"({"node":"edge-a"})");
  for (const char c : bytes) ASSERT_TRUE(client.send(std::string_view(&c, 1)));
  EXPECT_EQ(client.read_reply().status, 200u);
  EXPECT_EQ(runtime.drained, "edge-a");
}

TEST_F(http_protocol, a_chunked_body_is_read) {
  auto client = peer();
  client.send(client.request("POST", "/admin/v1/drain", {}, "Transfer-Encoding: chunked\r\n"));
  client.send("8\r\n{\"node\":\r\n5;ext=1\r\n\"abc\"\r\n1\r\n}\r\n0\r\n\r\n");
  EXPECT_EQ(client.read_reply().status, 200u);
  EXPECT_EQ(runtime.drained, "abc");
  EXPECT_EQ(client.ask("GET", "/health").status, 200u);
}

TEST_F(http_protocol, header_bytes_are_bounded_at_the_limit) {
  options.bounds.header_bytes_max = 1024;
  auto client = peer();
  client.send(header_of(client, 1024));
  EXPECT_EQ(client.read_reply().status, 200u);
  client.send(header_of(client, 1025));
  const auto r = client.read_reply();
  EXPECT_EQ(r.status, 431u);
  EXPECT_EQ(error_of(r)["code"], "header_too_large");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(http_protocol, a_header_without_end_is_431_as_soon_as_it_is_too_long) {
  options.bounds.header_bytes_max = 1024;
  auto client = peer();
  client.send("GET /" + std::string(2000, 'a'));
  EXPECT_EQ(client.read_reply().status, 431u);
}

TEST_F(http_protocol, body_bytes_are_bounded_at_the_limit_with_length_and_chunked) {
  options.bounds.request_bytes_max = 1000;
  const std::string fits = R"({"node":")" + std::string(989, 'n') + R"("})";
  ASSERT_EQ(fits.size(), 1000u);
  EXPECT_EQ(ask("POST", "/admin/v1/drain", fits).status, 200u);
  const auto r = ask("POST", "/admin/v1/drain", fits + " ");
  EXPECT_EQ(r.status, 413u);
  EXPECT_EQ(error_of(r)["code"], "request_too_large");
  auto client = peer();
  client.send(client.request("POST", "/admin/v1/drain", {}, "Transfer-Encoding: chunked\r\n") +
              "3e9\r\n" + fits + " \r\n0\r\n\r\n");
  EXPECT_EQ(client.read_reply().status, 413u);
}

TEST_F(http_protocol, a_body_that_is_far_too_long_still_reads_its_413) {
  options.bounds.request_bytes_max = 100'000;
  auto client = peer();
  client.send(client.request("POST", "/v1/completions", std::string(300'000, 'x')));
  EXPECT_EQ(client.read_reply().status, 413u);
}

TEST_F(http_protocol, expect_100_continue_gets_its_interim_answer_or_the_refusal) {
  auto client = peer();
  const std::string body = R"({"node":"x"})";
  const auto head = [&](const char* path) {
    return client.request(
        "POST", path, {},
        "Expect: 100-continue\r\nContent-Length: " + std::to_string(body.size()) + "\r\n");
  };
  client.send(head("/admin/v1/drain"));
  EXPECT_EQ(client.read_reply(true).status, 100u);
  client.send(body);
  EXPECT_EQ(client.read_reply().status, 200u);
  client.send(head("/nowhere"));
  EXPECT_EQ(client.read_reply().status, 404u);
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(http_protocol, connections_are_bounded_counted_and_freed) {
  options.bounds.connections_max = 2;
  auto first = peer();
  auto second = peer();
  EXPECT_EQ(first.ask("GET", "/health").status, 200u);
  // Both have a request under way.
  first.send(first.request("POST", "/v1/completions", R"({"prompt":"a"})"));
  const auto s = runtime.take();
  second.send(second.request("POST", "/v1/completions", R"({"prompt":"a"})"));
  const auto t = runtime.take();
  ASSERT_TRUE(s && t);
  auto third = peer();
  const auto r = third.read_reply();
  EXPECT_EQ(r.status, 503u);
  EXPECT_EQ(error_of(r)["code"], "server_is_overloaded");
  EXPECT_EQ(r.headers.at("retry-after-ms"), "1000");
  EXPECT_TRUE(third.closed_by_server());
  EXPECT_EQ(server().connections_refused(), 1u);
  s->to->reject(reject(s->id, "overloaded", "the test is over"));
  EXPECT_EQ(first.read_reply().status, 503u);
  EXPECT_THAT(first.ask("GET", "/metrics", {}, "Connection: close\r\n").body,
              HasSubstr("collm_gateway_connections_refused_total 1\n"));
  first.stop_sending();
  EXPECT_TRUE(first.closed_by_server());
  // Its place is free once the server has seen the close.
  unsigned status = 0;
  for (int i = 0; i < 1000 && status != 200; ++i) status = peer().ask("GET", "/health").status;
  EXPECT_EQ(status, 200u);
  t->to->reject(reject(t->id, "overloaded", "the test is over"));
}

TEST_F(http_protocol, a_header_that_trickles_is_cut_off_by_its_deadline) {
  options.timeouts.header = milliseconds(500);
  auto client = peer();
  client.send("GET /health HTTP/1.1\r\nHost: ");
  const auto r = client.read_reply();
  EXPECT_EQ(r.status, 408u);
  EXPECT_EQ(error_of(r)["code"], "request_timeout");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(http_protocol, bytes_do_not_extend_the_header_deadline) {
  options.timeouts.header = milliseconds(150);
  auto client = peer();
  const auto begun = std::chrono::steady_clock::now();
  client.send("GET /health HTTP/1.1\r\n");
  // Each answerless round trip on another connection is a short while in which this one sends one
  // more byte.
  auto other = peer();
  while (client.send("X") && std::chrono::steady_clock::now() - begun < milliseconds(150))
    other.ask("GET", "/health");
  EXPECT_EQ(client.read_reply().status, 408u);
}

TEST_F(http_protocol, a_body_that_does_not_come_is_cut_off_by_its_deadline) {
  options.timeouts.body = milliseconds(100);
  auto client = peer();
  client.send(client.request("POST", "/v1/completions", {}, "Content-Length: 10\r\n") + "{");
  EXPECT_EQ(client.read_reply().status, 408u);
}

TEST_F(http_protocol, silent_connections_are_closed_without_a_word) {
  options.timeouts.header = milliseconds(500);
  options.timeouts.idle = milliseconds(100);
  auto never_spoke = peer();
  EXPECT_TRUE(never_spoke.closed_by_server());
  auto kept = peer();
  EXPECT_EQ(kept.ask("GET", "/health").status, 200u);
  EXPECT_TRUE(kept.closed_by_server());
}

TEST_F(http_protocol, a_runtime_that_does_not_answer_is_504) {
  options.timeouts.reply = milliseconds(100);
  runtime.hold_status = true;
  const auto r = ask("GET", "/admin/v1/status");
  EXPECT_EQ(r.status, 504u);
  EXPECT_EQ(error_of(r)["code"], "timeout");
}

TEST_F(http_protocol, malformed_requests_are_400_and_closed) {
  for (const char* bytes :
       {"\x16\x03\x01\x02\r\n\r\n", "GET\r\n\r\n", "GET /health\r\n\r\n",
        "GET /health HTTP/1.1\r\nbroken header\r\n\r\n", "GET /health HTTP/1.1\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /a%00b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: "
        "6\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 5\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: "
        "chunked\r\n\r\n"}) {
    auto client = peer();
    client.send(bytes);
    const auto r = client.read_reply();
    EXPECT_EQ(r.status, 400u) << bytes;
    error_of(r);
    EXPECT_TRUE(client.closed_by_server()) << bytes;
  }
}

TEST_F(http_protocol, other_versions_of_http_are_505_or_400) {
  auto client = peer();
  client.send("GET /health HTTP/3.0\r\nHost: localhost\r\n\r\n");
  const auto status = client.read_reply().status;
  EXPECT_TRUE(status == 505 || status == 400) << status;
}

TEST_F(http_protocol, http_1_0_closes_unless_asked_to_keep) {
  const std::string host = "Host: localhost:" + std::to_string(server().port()) + "\r\n";
  auto client = peer();
  client.send("GET /health HTTP/1.0\r\n" + host + "Connection: keep-alive\r\n\r\n");
  const auto kept = client.read_reply();
  EXPECT_EQ(kept.status, 200u);
  EXPECT_EQ(kept.headers.at("connection"), "keep-alive");
  client.send("GET /health HTTP/1.0\r\n" + host + "\r\n");
  EXPECT_EQ(client.read_reply().status, 200u);
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(http_protocol, unknown_paths_and_methods) {
  const auto missing = ask("GET", "/v1/embeddings");
  EXPECT_EQ(missing.status, 404u);
  EXPECT_EQ(error_of(missing)["type"], "invalid_request_error");
  const auto wrong = ask("DELETE", "/v1/completions");
  EXPECT_EQ(wrong.status, 405u);
  error_of(wrong);
  EXPECT_EQ(wrong.headers.at("allow"), "POST, OPTIONS");
  EXPECT_EQ(ask("GET", "/v1/completions").status, 405u);
  EXPECT_EQ(ask("POST", "/health", "{}").headers.at("allow"), "GET, HEAD, OPTIONS");
}

TEST_F(http_protocol, a_refused_request_with_a_body_keeps_its_connection) {
  auto client = peer();
  EXPECT_EQ(client.ask("POST", "/nowhere", std::string(50'000, 'x')).status, 404u);
  EXPECT_EQ(client.ask("GET", "/health").status, 200u);
}

TEST_F(http_protocol, head_is_get_without_its_body_and_options_names_the_methods) {
  auto client = peer();
  const auto head = client.ask("HEAD", "/health");
  EXPECT_EQ(head.status, 200u);
  EXPECT_EQ(head.headers.at("content-length"),
            std::to_string(client.ask("GET", "/health").body.size()));
  const auto options_reply = client.ask("OPTIONS", "/v1/models");
  EXPECT_EQ(options_reply.status, 204u);
  EXPECT_EQ(options_reply.headers.at("allow"), "GET, HEAD, OPTIONS");
  EXPECT_FALSE(options_reply.headers.contains("access-control-allow-origin"));
  EXPECT_EQ(client.ask("HEAD", "/v1/completions").status, 405u);
}

TEST_F(http_protocol, keyless_gateway_refuses_foreign_hosts_and_origins) {
  auto client = peer();
  client.send("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  const auto rebound = client.read_reply();
  EXPECT_EQ(rebound.status, 403u);
  EXPECT_EQ(error_of(rebound)["type"], "permission_error");
  const auto foreign = client.ask("POST", "/v1/completions", R"({"prompt":"a"})",
                                  "Origin: http://evil.example\r\nContent-Type: text/plain\r\n");
  EXPECT_EQ(foreign.status, 403u);
  EXPECT_EQ(runtime.submitted_count(), 0u);
  EXPECT_EQ(client
                .ask("GET", "/v1/models", {},
                     "Origin: http://127.0.0.1:" + std::to_string(server().port()) + "\r\n")
                .status,
            200u);
}

TEST_F(http_protocol, json_depth_is_bounded_over_the_wire) {
  const auto nested = [](int depth) {
    return R"({"prompt":"a","metadata":)" + std::string(depth - 1, '[') +
           std::string(depth - 1, ']') + "}";
  };
  auto client = peer();
  client.send(client.request("POST", "/v1/completions", nested(32)));
  const auto s = runtime.take();
  ASSERT_TRUE(s);
  s->to->reject(reject(s->id, "overloaded", "only the depth is tested"));
  EXPECT_EQ(client.read_reply().status, 503u);
  const auto r = client.ask("POST", "/v1/completions", nested(33));
  EXPECT_EQ(r.status, 400u);
  EXPECT_THAT(error_of(r)["message"].get<std::string>(), HasSubstr("32"));
}

TEST(http_server, refuses_what_is_no_address) {
  port runtime;
  for (const char* address : {"example.org", "", "127.0.0.1:80", "127.0.0.256"}) {
    http_options options;
    options.address = address;
    const auto made = http_server::start(options, runtime, byte_encoder());
    ASSERT_FALSE(made) << address;
    EXPECT_EQ(made.failure().code, errc::bad_request);
  }
}

TEST(http_server, names_the_port_that_is_taken) {
  port runtime;
  const auto first = http_server::start({}, runtime, byte_encoder());
  ASSERT_TRUE(first);
  http_options options;
  options.port = (*first)->port();
  const auto second = http_server::start(options, runtime, byte_encoder());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.failure().code, errc::io);
  EXPECT_THAT(second.failure().message, HasSubstr(std::to_string(options.port)));
}

}  // namespace
}  // namespace collm::gateway::fake
