// Completions over a real socket; the test itself plays the runtime.
#include "tests/support/http_fixture.hpp"

namespace collm::gateway::fake {
namespace {

using schema::FinishReason;
using testing::HasSubstr;

constexpr const char* chat_body = R"({"messages":[{"role":"user","content":"hi"}],"seed":5})";
constexpr const char* stream_body =
    R"({"messages":[{"role":"user","content":"hi"}],"stream":true})";

class http_completions : public http_test {
 protected:
  /// Sends and hands over what reached the runtime.
  submission submit(http_peer& client, const std::string& body,
                    const char* path = "/v1/chat/completions") {
    client.send(client.request("POST", path, body));
    auto taken = runtime.take();
    EXPECT_TRUE(taken) << "nothing was submitted for " << body;
    return taken ? *taken : submission{};
  }

  static constexpr std::uint32_t many_parts = 24;
  static constexpr std::size_t large_part = 1u << 20;
  /// More than any socket buffer holds; the runtime here ignores credit on purpose.
  static void say_much(const submission& s) {
    const std::string big(large_part, 'x');
    for (std::uint32_t i = 0; i < many_parts; ++i) s.to->chunk(chunk(s.id, big));
  }
};

TEST_F(http_completions, plain_chat_answers_once_the_request_is_finished) {
  auto client = peer();
  const auto s = submit(client, chat_body);
  s.to->accepted(accepted(s.id, "assistant", 3));
  s.to->chunk(chunk(s.id, "hel"));
  s.to->chunk(chunk(s.id, "lo", {}, FinishReason::STOP));
  s.to->finish(finish(s.id, FinishReason::STOP, 9, 2, 4));
  const auto r = client.read_reply();
  EXPECT_EQ(r.status, 200u);
  EXPECT_EQ(r.headers.at("content-type"), "application/json");
  EXPECT_EQ(r.headers.at("x-collm-seed"), "5");
  const auto body = parsed(r.body);
  EXPECT_EQ(body["model"], "assistant@3");
  EXPECT_EQ(body["system_fingerprint"], "assistant@3");
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(body["choices"][0]["message"]["content"], "hello");
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
  EXPECT_TRUE(runtime.wait_credit(s.id, 2));
}

TEST_F(http_completions, stream_is_sse_frames_with_one_id_and_ends_with_done) {
  auto client = peer();
  const auto s = submit(client, R"({"messages":[{"role":"user","content":"hi"}],"stream":true,)"
                                R"("stream_options":{"include_usage":true}})");
  s.to->accepted(accepted(s.id, "assistant", 3));
  s.to->chunk(chunk(s.id, "a"));
  s.to->chunk(chunk(s.id, "b", {}, FinishReason::LENGTH));
  s.to->finish(finish(s.id, FinishReason::STOP, 9, 2));
  const auto r = client.read_reply();
  EXPECT_TRUE(client.ended_well());
  EXPECT_EQ(r.status, 200u);
  EXPECT_EQ(r.headers.at("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(r.headers.at("cache-control"), "no-cache");
  const auto frames = frames_of(r.body);
  ASSERT_EQ(frames.size(), 6u);  // role, a, b, finish, usage, [DONE]
  EXPECT_EQ(frames.back(), "[DONE]");
  std::string text;
  for (std::size_t i = 0; i + 1 < frames.size(); ++i) {
    const auto frame = parsed(frames[i]);
    EXPECT_EQ(frame["id"], parsed(frames[0])["id"]);
    EXPECT_EQ(frame["created"], parsed(frames[0])["created"]);
    EXPECT_EQ(frame["model"], "assistant@3");
    EXPECT_EQ(frame["usage"].is_null(), i != 4);
    if (i < 4) text += frame["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(parsed(frames[4])["choices"], nlohmann::json::array());
  EXPECT_EQ(parsed(frames[4])["usage"]["total_tokens"], 11);
  // The connection is kept.
  EXPECT_EQ(client.ask("GET", "/health").status, 200u);
}

TEST_F(http_completions, frames_leave_as_they_come) {
  auto client = peer();
  const auto s = submit(client, stream_body);
  s.to->accepted(accepted(s.id));
  EXPECT_EQ(client.read_head().status, 200u);
  s.to->chunk(chunk(s.id, "first"));
  EXPECT_THAT(client.read_until("\n\n"), HasSubstr("assistant"));
  EXPECT_THAT(client.read_until("\n\n"), HasSubstr(R"("content":"first")"));
  EXPECT_TRUE(runtime.wait_credit(s.id, 1));
  s.to->finish(finish(s.id, FinishReason::STOP));
  EXPECT_THAT(client.read_until("data: [DONE]\n\n"), HasSubstr(R"("finish_reason":"stop")"));
}

TEST_F(http_completions, legacy_completion_defaults_to_16_tokens_and_takes_token_ids) {
  auto client = peer();
  const auto s =
      submit(client, R"({"prompt":[10,11,12],"logprobs":1,"temperature":0})", "/v1/completions");
  {
    const auto r = s.request.read();
    EXPECT_EQ(r->getMaxTokens(), 16u);
    ASSERT_EQ(r->getPrompt().size(), 3u);
    EXPECT_EQ(r->getPrompt()[2], 12u);
    EXPECT_EQ(r->getSampling().getLogprobs(), 1);
  }
  s.to->accepted(accepted(s.id));
  s.to->chunk(chunk(s.id, "x", {{text::tiny::byte_token('x'), -1.0f, {}}}, FinishReason::LENGTH));
  s.to->finish(finish(s.id, FinishReason::STOP));
  const auto body = parsed(client.read_reply().body);
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_EQ(body["choices"][0]["text"], "x");
  EXPECT_EQ(body["choices"][0]["logprobs"]["tokens"][0], "x");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
}

TEST_F(http_completions, chat_without_max_tokens_may_use_the_whole_context) {
  auto client = peer();
  const auto s = submit(client, chat_body);
  const auto r = s.request.read();
  EXPECT_EQ(r->getMaxTokens() + r->getPrompt().size(), 2048u);
}

TEST_F(http_completions, a_seed_that_was_drawn_is_told_and_differs_between_requests) {
  auto client = peer();
  std::string seeds[2];
  for (auto& seed : seeds) {
    const auto s = submit(client, R"({"messages":[{"role":"user","content":"hi"}]})");
    s.to->accepted(accepted(s.id));
    s.to->finish(finish(s.id, FinishReason::STOP));
    seed = client.read_reply().headers.at("x-collm-seed");
    EXPECT_EQ(seed, std::to_string(s.request.read()->getSampling().getSeed()));
  }
  EXPECT_NE(seeds[0], seeds[1]);
}

TEST_F(http_completions, every_reject_becomes_its_status_with_retry_advice) {
  const std::tuple<const char*, unsigned, const char*> cases[] = {
      {"overloaded", 503, "server_is_overloaded"},
      {"rate_limited", 429, "rate_limit_exceeded"},
      {"not_found", 404, "model_not_found"},
      {"context_length_exceeded", 400, "context_length_exceeded"},
      {"draining", 503, "slow_down"},
      {"timeout", 504, "timeout"}};
  auto client = peer();
  for (const auto& [code, status, api_code] : cases) {
    for (const char* body : {chat_body, stream_body}) {
      const auto s = submit(client, body);
      s.to->reject(reject(s.id, code, "because", 1500));
      const auto r = client.read_reply();
      EXPECT_EQ(r.status, status) << code;
      EXPECT_EQ(error_of(r)["code"], api_code);
      EXPECT_EQ(error_of(r)["message"], "because");
      EXPECT_EQ(r.headers.contains("retry-after-ms"), status == 429 || status == 503) << code;
    }
  }
}

TEST_F(http_completions, an_error_after_accept_is_500_or_an_event_in_the_open_stream) {
  auto client = peer();
  auto s = submit(client, chat_body);
  s.to->accepted(accepted(s.id));
  s.to->chunk(chunk(s.id, "lost"));
  s.to->finish(finish(s.id, FinishReason::ERROR, 1, 1, 0, "the node died"));
  const auto plain = client.read_reply();
  EXPECT_EQ(plain.status, 500u);
  EXPECT_EQ(error_of(plain)["message"], "the node died");

  s = submit(client, stream_body);
  s.to->accepted(accepted(s.id));
  s.to->chunk(chunk(s.id, "lost"));
  s.to->finish(finish(s.id, FinishReason::ERROR, 1, 1, 0, "the node died"));
  const auto streamed = client.read_reply();
  EXPECT_EQ(streamed.status, 200u);
  const auto frames = frames_of(streamed.body);
  EXPECT_EQ(parsed(frames.back())["error"]["message"], "the node died");
  EXPECT_THAT(streamed.body, testing::Not(HasSubstr("[DONE]")));
}

TEST_F(http_completions, a_stream_ended_for_slow_reading_says_so) {
  auto client = peer();
  const auto s = submit(client, stream_body);
  s.to->accepted(accepted(s.id));
  s.to->finish(finish(s.id, FinishReason::SLOW_READER));
  EXPECT_EQ(parsed(frames_of(client.read_reply().body).back())["error"]["code"], "slow_reader");
}

TEST_F(http_completions, a_client_that_hangs_up_while_waiting_cancels) {
  auto client = peer();
  const auto s = submit(client, chat_body);
  client.hang_up();
  EXPECT_TRUE(runtime.wait_cancelled(s.id));
}

TEST_F(http_completions,
       a_client_that_hangs_up_in_its_stream_cancels_and_late_messages_do_no_harm) {
  auto client = peer();
  const auto s = submit(client, stream_body);
  s.to->accepted(accepted(s.id));
  s.to->chunk(chunk(s.id, "a"));
  client.read_until("\n\n");
  client.hang_up();
  EXPECT_TRUE(runtime.wait_cancelled(s.id));
  s.to->chunk(chunk(s.id, "b"));
  s.to->finish(finish(s.id, FinishReason::CANCELLED));
  EXPECT_EQ(ask("GET", "/health").status, 200u);
}

TEST_F(http_completions, a_finished_request_is_not_cancelled_when_the_connection_ends) {
  auto client = peer();
  const auto first = submit(client, chat_body);
  first.to->accepted(accepted(first.id));
  first.to->finish(finish(first.id, FinishReason::STOP));
  EXPECT_EQ(client.read_reply().status, 200u);
  const auto second = submit(client, chat_body);
  client.hang_up();
  EXPECT_TRUE(runtime.wait_cancelled(second.id));
  EXPECT_FALSE(runtime.cancelled(first.id));
}

TEST_F(http_completions, stopping_the_server_cancels_what_runs) {
  auto client = peer();
  const auto s = submit(client, stream_body);
  s.to->accepted(accepted(s.id));
  client.read_head();
  server().stop();
  EXPECT_TRUE(runtime.wait_cancelled(s.id));
  s.to->chunk(chunk(s.id, "after the end"));
  s.to->finish(finish(s.id, FinishReason::CANCELLED));
}

TEST_F(http_completions, an_answer_that_is_finished_when_the_server_stops_goes_out_to_its_end) {
  options.timeouts.linger = std::chrono::seconds(60);
  auto client = peer(4096), idle = peer();
  EXPECT_EQ(idle.ask("GET", "/health").status, 200u);
  const auto s = submit(client, stream_body);
  s.to->accepted(accepted(s.id));
  say_much(s);  // so that its end is not written when the server stops
  s.to->finish(finish(s.id, FinishReason::STOP));
  std::thread stopping([&] { server().stop(); });
  EXPECT_TRUE(idle.closed_by_server()) << "who waits for nothing is not waited for";
  EXPECT_FALSE(peer().connected()) << "nobody new is let in";
  const auto answer = client.read_reply();
  EXPECT_TRUE(client.ended_well());
  EXPECT_THAT(answer.body, testing::EndsWith("data: [DONE]\n\n"));
  EXPECT_GT(answer.body.size(), many_parts * large_part);
  client.hang_up();
  stopping.join();
  EXPECT_FALSE(runtime.cancelled(s.id));
}

TEST_F(http_completions, a_request_that_has_begun_to_arrive_when_the_server_stops_is_told_so) {
  options.timeouts.linger = std::chrono::seconds(60);
  auto comes = peer(), idle = peer();
  for (auto* p : {&comes, &idle}) EXPECT_EQ(p->ask("GET", "/health").status, 200u);
  const auto whole = comes.request("POST", "/v1/chat/completions", chat_body);
  comes.send(std::string_view(whole).substr(0, whole.size() / 2));
  runtime.is_ready = false;
  std::thread stopping([&] { server().stop(); });
  EXPECT_TRUE(idle.closed_by_server());
  comes.send(std::string_view(whole).substr(whole.size() / 2));
  const auto answer = comes.read_reply();
  EXPECT_EQ(answer.status, 503u);
  EXPECT_EQ(answer.headers.count("retry-after"), 1u);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  comes.hang_up();
  stopping.join();
}

TEST_F(http_completions, who_does_not_read_a_finished_answer_delays_a_stop_for_a_bounded_time) {
  options.timeouts.linger = std::chrono::milliseconds(50);
  auto client = peer(4096);
  const auto s = submit(client, stream_body);
  s.to->accepted(accepted(s.id));
  say_much(s);
  s.to->finish(finish(s.id, FinishReason::STOP));
  server().stop();
  EXPECT_EQ(server().connections_open(), 0u);
}

// Credit is given only as bytes leave, so what a reader leaves unread holds back the runtime, and
// nobody else.
TEST_F(http_completions, a_slow_reader_gets_no_more_credit_and_stalls_nobody) {
  auto slow = peer(4096);
  const auto s = submit(slow, stream_body);
  s.to->accepted(accepted(s.id));
  say_much(s);
  for (int i = 0; i < 3; ++i) {
    auto other = peer();
    const auto quick = submit(other, chat_body);
    quick.to->accepted(accepted(quick.id));
    quick.to->finish(finish(quick.id, FinishReason::STOP));
    EXPECT_EQ(other.read_reply().status, 200u);
  }
  EXPECT_LT(runtime.credit_of(s.id), many_parts);
  s.to->finish(finish(s.id, FinishReason::STOP));
  EXPECT_GT(slow.read_reply().body.size(), many_parts * large_part);
  EXPECT_TRUE(runtime.wait_credit(s.id, many_parts));
}

TEST_F(http_completions, a_reader_that_never_reads_is_dropped_by_the_write_deadline) {
  options.timeouts.write = std::chrono::milliseconds(200);
  auto slow = peer(4096);
  const auto s = submit(slow, stream_body);
  s.to->accepted(accepted(s.id));
  say_much(s);
  EXPECT_TRUE(runtime.wait_cancelled(s.id));
}

TEST_F(http_completions, a_body_that_is_wrong_is_400_with_its_param) {
  auto client = peer();
  const auto refused = [&](const char* path, const std::string& body) {
    const auto r = client.ask("POST", path, body);
    EXPECT_EQ(r.status, 400u) << body;
    return error_of(r);
  };
  EXPECT_EQ(refused("/v1/chat/completions", R"({"messages":[],"n":1})")["param"], "messages");
  EXPECT_EQ(refused("/v1/completions", R"({"prompt":"a","n":99})")["param"], "n");
  EXPECT_EQ(refused("/v1/completions", R"({"prompt":["a","b"]})")["param"], "prompt");
  EXPECT_EQ(refused("/v1/completions", R"({"prompt":[999999]})")["param"], "prompt");
  EXPECT_EQ(refused("/v1/completions", "{\"prompt\":\"\xFF\"}")["param"], nullptr);
  EXPECT_EQ(refused("/v1/completions", R"({"prompt":"a","max_tokens":2048})")["code"],
            "context_length_exceeded");
  EXPECT_EQ(runtime.submitted_count(), 0u);
}

TEST_F(http_completions, prompt_tokens_are_bounded_at_the_limit) {
  options.bounds.prompt_tokens_max = 8;
  auto client = peer();
  const auto s = submit(client, R"({"prompt":"12345678"})", "/v1/completions");
  s.to->reject(reject(s.id, "overloaded", "only the admission is tested"));
  client.read_reply();
  const auto r = client.ask("POST", "/v1/completions", R"({"prompt":"123456789"})");
  EXPECT_EQ(r.status, 400u);
  EXPECT_EQ(error_of(r)["code"], "context_length_exceeded");
}

TEST_F(http_completions, nothing_is_admitted_while_not_ready) {
  runtime.is_ready = false;
  const auto r = ask("POST", "/v1/chat/completions", chat_body);
  EXPECT_EQ(r.status, 503u);
  EXPECT_EQ(error_of(r)["code"], "slow_down");
  EXPECT_TRUE(r.headers.contains("retry-after"));
  EXPECT_EQ(runtime.submitted_count(), 0u);
}

TEST_F(http_completions, site_comes_from_the_field_or_the_header_and_they_must_agree) {
  auto client = peer();
  client.send(
      client.request("POST", "/v1/completions", R"({"prompt":"a"})", "X-CoLLM-Site: kitchen\r\n"));
  auto s = runtime.take();
  ASSERT_TRUE(s);
  EXPECT_EQ(s->request.read()->getSite(), "kitchen");
  s->to->reject(reject(s->id, "unavailable", "only the site is tested"));
  client.read_reply();
  const auto r = client.ask("POST", "/v1/completions", R"({"prompt":"a","site":"workshop"})",
                            "X-CoLLM-Site: kitchen\r\n");
  EXPECT_EQ(r.status, 400u);
  EXPECT_EQ(error_of(r)["param"], "site");
}

TEST_F(http_completions, a_tenants_key_fixes_site_class_and_salt_and_its_rate_is_kept) {
  options.tenants = {{"acme", sha256_hex("k1"), "kitchen", false, 1}};
  auto client = peer();
  EXPECT_EQ(client.ask("POST", "/v1/completions", R"({"prompt":"a"})").status, 401u);
  const auto elsewhere =
      client.ask("POST", "/v1/completions", R"({"prompt":"a","site":"workshop"})",
                 "Authorization: Bearer k1\r\n");
  EXPECT_EQ(elsewhere.status, 403u);
  const auto over_rate =
      client.ask("POST", "/v1/completions", R"({"prompt":"a"})", "Authorization: Bearer k1\r\n");
  EXPECT_EQ(over_rate.status, 429u);
  EXPECT_TRUE(over_rate.headers.contains("retry-after-ms"));
  EXPECT_EQ(over_rate.headers.at("x-ratelimit-limit-requests"), "1");
}

TEST_F(http_completions, a_tenants_request_carries_what_its_key_says) {
  options.tenants = {{"acme", sha256_hex("k1"), "kitchen", false, 0}};
  auto client = peer();
  client.send(client.request("POST", "/v1/completions", R"({"prompt":"a"})",
                             "Authorization: Bearer k1\r\n"));
  const auto s = runtime.take();
  ASSERT_TRUE(s);
  const auto r = s->request.read();
  EXPECT_EQ(r->getTenant(), "acme");
  EXPECT_EQ(r->getSite(), "kitchen");
  EXPECT_FALSE(r->getInteractive());
  EXPECT_NE(r->getCacheSalt(), 0u);
}

TEST_F(http_completions, http_1_0_streams_until_the_connection_closes) {
  auto client = peer();
  const std::string body = R"({"prompt":"a","stream":true})";
  client.send(
      "POST /v1/completions HTTP/1.0\r\nHost: localhost:" + std::to_string(server().port()) +
      "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  const auto s = runtime.take();
  ASSERT_TRUE(s);
  s->to->accepted(accepted(s->id));
  s->to->chunk(chunk(s->id, "a", {}, FinishReason::STOP));
  s->to->finish(finish(s->id, FinishReason::STOP));
  const auto r = client.read_reply();
  EXPECT_FALSE(r.headers.contains("transfer-encoding"));
  EXPECT_EQ(frames_of(r.body).back(), "[DONE]");
}

TEST_F(http_completions, tokens_before_acceptance_are_the_runtimes_error_not_a_crash) {
  auto client = peer();
  const auto s = submit(client, chat_body);
  s.to->chunk(chunk(s.id, "too early"));
  EXPECT_EQ(client.read_reply().status, 500u);
}

}  // namespace
}  // namespace collm::gateway::fake
