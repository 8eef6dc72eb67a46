// HTTPS: the same gateway over TLS, to clients that trust it, that do not, and that speak something
// else; and what may listen beyond this machine.
#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>

#include "bench/http_client.hpp"
#include "tests/support/http_fixture.hpp"
#include "tests/support/tls_files.hpp"

namespace collm::gateway::fake {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing_support::certificate_folder;

class http_tls : public http_test {
 protected:
  certificate_folder files;
  http_tls() { options.tls = tls_files{files.certificate(), files.key()}; }

  http_peer secure_peer() {
    auto client = peer();
    EXPECT_TRUE(client.secure());
    return client;
  }
  std::string url(const std::string& host = "127.0.0.1") {
    return "https://" + host + ":" + std::to_string(server().port());
  }
  bench::http_client client(const std::string& ca, const std::string& host = "127.0.0.1") {
    return bench::http_client(*bench::parse_url(url(host)), ca);
  }
};

bench::http_call get(std::string target) {
  bench::http_call call;
  call.target = std::move(target);
  return call;
}

TEST_F(http_tls, answers_who_trusts_the_certificate) {
  for (const char* host : {"127.0.0.1", "localhost"}) {
    const auto reply = client(files.certificate(), host).send(get("/health"));
    ASSERT_TRUE(reply) << reply.failure().message;
    EXPECT_EQ(reply->status, 200u);
  }
}

TEST_F(http_tls, a_client_refuses_a_certificate_that_it_does_not_know_or_of_another_host) {
  const certificate_folder other, elsewhere("DNS:elsewhere.example");
  const auto unknown = client(other.certificate()).send(get("/health"));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.failure().code, errc::forbidden);
  EXPECT_THAT(unknown.failure().message, HasSubstr("--ca"));
  options.tls = tls_files{elsewhere.certificate(), elsewhere.key()};
  const auto misnamed = client(elsewhere.certificate()).send(get("/health"));
  ASSERT_FALSE(misnamed);
  EXPECT_EQ(misnamed.failure().code, errc::forbidden);
}

TEST_F(http_tls, streams_tokens_one_by_one_and_ends_in_order) {
  auto client = secure_peer();
  client.send(client.request("POST", "/v1/completions", R"({"prompt":"a","stream":true})"));
  const auto s = runtime.take();
  ASSERT_TRUE(s);
  s->to->accepted(accepted(s->id));
  EXPECT_EQ(client.read_head().status, 200u);
  for (const char* text : {"o", "n", "e"}) {
    s->to->chunk(chunk(s->id, text));
    EXPECT_THAT(client.read_chunk().value_or(""), HasSubstr(std::string("\"") + text + "\""));
  }
  s->to->finish(finish(s->id, schema::FinishReason::STOP));
  while (client.read_chunk()) {
  }
  EXPECT_TRUE(client.ended_well());
  EXPECT_EQ(client.ask("GET", "/health").status, 200u) << "the connection is kept";
}

TEST_F(http_tls, connections_end_with_a_farewell_so_that_nobody_can_cut_an_answer_short) {
  auto asked = secure_peer();
  EXPECT_EQ(asked.ask("GET", "/health", {}, "Connection: close\r\n").status, 200u);
  EXPECT_TRUE(asked.closed_by_server());
  EXPECT_TRUE(asked.farewell());
  auto half_closed = secure_peer();
  half_closed.send(half_closed.request("GET", "/version") + half_closed.request("GET", "/health"));
  half_closed.stop_sending();
  EXPECT_EQ(half_closed.read_reply().status, 200u);
  EXPECT_EQ(half_closed.read_reply().status, 200u);
  EXPECT_TRUE(half_closed.closed_by_server());
  EXPECT_TRUE(half_closed.farewell());
}

TEST_F(http_tls, a_body_that_is_far_too_long_still_reads_its_413) {
  options.bounds.request_bytes_max = 100'000;
  auto client = secure_peer();
  client.send(client.request("POST", "/v1/completions", std::string(300'000, 'x')));
  EXPECT_EQ(client.read_reply().status, 413u);
}

TEST_F(http_tls, a_client_that_goes_away_during_its_answer_is_noticed) {
  std::optional<submission> s;
  {
    auto client = secure_peer();
    client.send(client.request("POST", "/v1/completions", R"({"prompt":"a"})"));
    s = runtime.take();
    ASSERT_TRUE(s);
    s->to->accepted(accepted(s->id));
  }
  EXPECT_TRUE(runtime.wait_cancelled(s->id));
}

TEST_F(http_tls, requests_pass_while_answers_come_on_many_connections) {
  std::vector<http_peer> clients;
  for (int i = 0; i < 8; ++i) clients.push_back(secure_peer());
  for (int round = 0; round < 3; ++round) {
    for (auto& c : clients) c.send(c.request("GET", "/v1/models") + c.request("GET", "/health"));
    for (auto& c : clients) {
      EXPECT_EQ(c.read_reply().status, 200u);
      EXPECT_EQ(c.read_reply().status, 200u);
    }
  }
}

TEST_F(http_tls, plain_http_and_garbage_end_that_connection_alone) {
  for (const std::string& bytes :
       {std::string("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"), std::string(4096, '\0'),
        std::string("\x16\x03\x01\xff\xff", 5) + std::string(70'000, 'x'),
        std::string("\x15\x03\x03\x00\x02\x02\x28", 7)}) {
    auto client = peer();
    client.send(bytes);
    EXPECT_TRUE(client.ends());
  }
  EXPECT_EQ(secure_peer().ask("GET", "/health").status, 200u);
}

TEST_F(http_tls, a_handshake_that_stalls_is_closed_by_the_headers_deadline) {
  options.timeouts.header = milliseconds(500);
  auto silent = peer();
  EXPECT_TRUE(silent.closed_by_server());
  auto half = peer();
  half.send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  EXPECT_TRUE(half.closed_by_server());
  auto shaken = secure_peer();
  EXPECT_TRUE(shaken.closed_by_server()) << "a handshake alone does not keep a connection";
}

TEST_F(http_tls, stops_with_handshakes_and_answers_under_way) {
  auto stalled = peer();
  auto asking = secure_peer();
  asking.send(asking.request("POST", "/v1/completions", R"({"prompt":"a"})"));
  ASSERT_TRUE(runtime.take());
  server().stop();
  EXPECT_TRUE(stalled.closed_by_server());
}

TEST_F(http_tls, a_page_of_this_origin_says_https) {
  auto client = secure_peer();
  const auto origin = [&](const std::string& scheme) {
    return "Origin: " + scheme + "://127.0.0.1:" + std::to_string(server().port()) + "\r\n";
  };
  EXPECT_EQ(client.ask("GET", "/v1/models", {}, origin("https")).status, 200u);
  EXPECT_EQ(client.ask("GET", "/v1/models", {}, origin("http")).status, 403u);
}

TEST(http_server, listens_beyond_loopback_with_keys_and_tls_only) {
  port runtime;
  const certificate_folder files;
  const tls_files tls{files.certificate(), files.key()};
  const std::vector<tenant> keys{{"acme", sha256_hex("k"), "", true, 0}};
  const auto refusal = [&](const std::string& address, bool with_tls, bool with_keys) {
    http_options options;
    options.address = address;
    if (with_tls) options.tls = tls;
    if (with_keys) options.tenants = keys;
    const auto made = http_server::start(options, runtime, byte_encoder());
    return made ? std::string() : made.failure().message;
  };
  for (const char* address : {"0.0.0.0", "::", "192.0.2.1"}) {
    EXPECT_THAT(refusal(address, false, false),
                testing::AllOf(HasSubstr("gateway.tls"), HasSubstr("spec.tenants")));
    EXPECT_THAT(refusal(address, true, false), HasSubstr("lacks keys (spec.tenants)"));
    EXPECT_THAT(refusal(address, false, true), HasSubstr("lacks TLS (gateway.tls"));
  }
  EXPECT_EQ(refusal("0.0.0.0", true, true), "");
}

TEST(http_server, says_which_tls_file_is_wrong) {
  port runtime;
  const certificate_folder files, others;
  const auto refusal = [&](const std::string& certificate, const std::string& key) {
    http_options options;
    options.tls = tls_files{certificate, key};
    const auto made = http_server::start(options, runtime, byte_encoder());
    return made ? std::string() : made.failure().message;
  };
  EXPECT_THAT(refusal("/nowhere.pem", files.key()), HasSubstr("/nowhere.pem"));
  EXPECT_THAT(refusal(files.certificate(), "/nowhere.pem"), HasSubstr("/nowhere.pem"));
  EXPECT_THAT(refusal(files.key(), files.key()), HasSubstr("certificate chain in PEM"));
  EXPECT_THAT(refusal(files.certificate(), others.key()), HasSubstr(others.key()));
  EXPECT_EQ(refusal(files.certificate(), files.key()), "");
  ::chmod(files.key().c_str(), 0644);
  EXPECT_THAT(refusal(files.certificate(), files.key()), HasSubstr("chmod 600"));
}

}  // namespace
}  // namespace collm::gateway::fake
