#include "gateway/answer_writer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_port.hpp"

namespace collm::gateway {
namespace {

using fake::chunk;
using schema::FinishReason;
using text::tiny::byte_token;

answer_identity chat_identity() {
  return {completion_kind::chat, "chatcmpl-1", 1700000000, "assistant@3", 1, -1, false};
}
answer_identity text_identity() {
  return {completion_kind::text, "cmpl-1", 1700000000, "tiny", 1, -1, false};
}

class answer_writer : public testing::Test {
 protected:
  std::shared_ptr<const text::tokenizer> tokens = text::tiny::make_tokenizer();
  const std::string chat_start =
      R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,)"
      R"("model":"assistant@3",)"
      R"("system_fingerprint":"assistant@3","choices":)";
};

TEST_F(answer_writer, chat_stream_gives_the_role_first_then_content_then_an_empty_delta) {
  stream_writer writer(chat_identity(), *tokens);
  EXPECT_EQ(
      writer.chunk(*chunk(1, "hi").read()),
      chat_start +
          R"([{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,)"
          R"("finish_reason":null}]})"
          "\n\n" +
          chat_start +
          R"([{"index":0,"delta":{"content":"hi"},"logprobs":null,"finish_reason":null}]})"
          "\n\n");
  EXPECT_EQ(writer.chunk(*chunk(1, "!", {}, FinishReason::LENGTH).read()),
            chat_start +
                R"([{"index":0,"delta":{"content":"!"},"logprobs":null,"finish_reason":null}]})"
                "\n\n" +
                chat_start +
                R"([{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]})"
                "\n\n");
  EXPECT_EQ(writer.finish(*fake::finish(1, FinishReason::STOP).read()), "data: [DONE]\n\n");
}

TEST_F(answer_writer,
       include_usage_puts_null_in_every_chunk_and_one_chunk_without_choices_before_done) {
  auto identity = chat_identity();
  identity.include_usage = true;
  stream_writer writer(identity, *tokens);
  const auto first = writer.chunk(*chunk(1, "hi", {}, FinishReason::STOP).read());
  std::size_t frames = 0, nulls = 0;
  for (std::size_t at = 0; (at = first.find("data: ", at)) != std::string::npos; ++at) ++frames;
  for (std::size_t at = 0; (at = first.find(R"("usage":null})", at)) != std::string::npos; ++at)
    ++nulls;
  EXPECT_EQ(frames, 3u);
  EXPECT_EQ(nulls, 3u);
  EXPECT_EQ(writer.finish(*fake::finish(1, FinishReason::STOP, 7, 2, 5).read()),
            chat_start + R"([],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9,)"
                         R"("prompt_tokens_details":{"cached_tokens":5}}})"
                         "\n\ndata: [DONE]\n\n");
}

TEST_F(answer_writer, legacy_stream_carries_text) {
  stream_writer writer(text_identity(), *tokens);
  const std::string start =
      R"(data: {"id":"cmpl-1","object":"text_completion","created":1700000000,"model":"tiny",)"
      R"("system_fingerprint":"tiny","choices":)";
  EXPECT_EQ(writer.chunk(*chunk(1, "a", {}, FinishReason::STOP).read()),
            start +
                R"([{"index":0,"text":"a","logprobs":null,"finish_reason":null}]})"
                "\n\n" +
                start +
                R"([{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}]})"
                "\n\n");
}

TEST_F(answer_writer,
       text_that_is_held_back_gives_no_frame_and_unknown_or_finished_choices_neither) {
  stream_writer writer(text_identity(), *tokens);
  EXPECT_EQ(writer.chunk(*chunk(1, "", {{byte_token('x')}}).read()), "");
  EXPECT_EQ(writer.chunk(*chunk(1, "x", {}, FinishReason::NONE, 1).read()), "");
  EXPECT_NE(writer.chunk(*chunk(1, "x", {}, FinishReason::STOP).read()), "");
  EXPECT_EQ(writer.chunk(*chunk(1, "late").read()), "");
}

TEST_F(answer_writer, a_choice_without_finish_chunk_ends_with_the_requests_reason) {
  auto identity = chat_identity();
  identity.choices = 2;
  stream_writer writer(identity, *tokens);
  writer.chunk(*chunk(1, "a", {}, FinishReason::STOP, 0).read());
  const auto last = writer.finish(*fake::finish(1, FinishReason::LENGTH).read());
  EXPECT_THAT(
      last, testing::HasSubstr(R"("index":1,"delta":{},"logprobs":null,"finish_reason":"length")"));
  EXPECT_THAT(last, testing::Not(testing::HasSubstr(R"("index":0)")));
}

TEST_F(answer_writer, chat_logprobs_have_token_bytes_and_alternatives) {
  auto identity = chat_identity();
  identity.logprobs = 1;
  body_writer writer(identity, *tokens);
  writer.chunk(
      *chunk(1, "a", {{byte_token('a'), -0.25f, {{byte_token('\xC3'), -2.0f}}}}, FinishReason::STOP)
           .read());
  const auto body =
      nlohmann::json::parse(writer.finish(*fake::finish(1, FinishReason::STOP).read()));
  EXPECT_EQ(
      body["choices"][0]["logprobs"],
      nlohmann::json::parse(R"({"content":[{"token":"a","logprob":-0.25,"bytes":[97],"top_logprobs":
              [{"token":"�","logprob":-2.0,"bytes":[195]}]}],"refusal":null})"));
}

TEST_F(answer_writer, legacy_logprobs_count_code_points_and_spell_half_characters_by_bytes) {
  auto identity = text_identity();
  identity.logprobs = 1;
  body_writer writer(identity, *tokens);
  writer.chunk(*chunk(1, "", {{byte_token('\xC3'), -1.0f, {{byte_token('b'), -3.0f}}}}).read());
  writer.chunk(*chunk(1, "é!", {{byte_token('\xA9'), -0.5f}, {byte_token('!'), -INFINITY}},
                      FinishReason::STOP)
                    .read());
  const auto body =
      nlohmann::json::parse(writer.finish(*fake::finish(1, FinishReason::STOP).read()));
  const auto& logprobs = body["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"], (std::vector<std::string>{"bytes:\\xc3", "bytes:\\xa9", "!"}));
  EXPECT_EQ(logprobs["text_offset"], (std::vector<int>{0, 1, 1}));
  EXPECT_EQ(logprobs["token_logprobs"], (std::vector<double>{-1.0, -0.5, -9999.0}));
  EXPECT_EQ(logprobs["top_logprobs"][0], nlohmann::json::parse(R"({"b":-3.0,"bytes:\\xc3":-1.0})"));
  EXPECT_EQ(body["choices"][0]["text"], "é!");
}

TEST_F(answer_writer, streamed_logprobs_are_those_of_their_chunk_even_without_text) {
  auto identity = chat_identity();
  identity.logprobs = 0;
  stream_writer writer(identity, *tokens);
  writer.chunk(*chunk(1, "a", {{byte_token('a'), -1.0f}}).read());
  const auto second = writer.chunk(*chunk(1, "", {{byte_token('b'), -2.0f}}).read());
  EXPECT_THAT(second,
              testing::HasSubstr(
                  R"("delta":{"content":""},"logprobs":{"content":[{"token":"b","logprob":-2.0)"));
  EXPECT_THAT(second, testing::Not(testing::HasSubstr(R"("token":"a")")));
}

TEST_F(answer_writer, a_whole_chat_answer_has_messages_reasons_and_usage) {
  auto identity = chat_identity();
  identity.choices = 2;
  body_writer writer(identity, *tokens);
  writer.chunk(*chunk(1, "one ", {}, FinishReason::NONE, 1).read());
  writer.chunk(*chunk(1, "zero", {}, FinishReason::STOP, 0).read());
  writer.chunk(*chunk(1, "more", {}, FinishReason::LENGTH, 1).read());
  EXPECT_EQ(
      writer.finish(*fake::finish(1, FinishReason::STOP, 3, 4, 1).read()),
      R"({"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"assistant@3",)"
      R"("system_fingerprint":"assistant@3","choices":[)"
      R"({"index":0,"message":{"role":"assistant","content":"zero","refusal":null},)"
      R"("logprobs":null,"finish_reason":"stop"},)"
      R"({"index":1,"message":{"role":"assistant","content":"one more","refusal":null},)"
      R"("logprobs":null,"finish_reason":"length"}],)"
      R"("usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,)"
      R"("prompt_tokens_details":{"cached_tokens":1}}})");
}

TEST(answered_by, names_the_version_or_the_base) {
  EXPECT_EQ(answered_by(*fake::accepted(1, "assistant", 3).read(), "tiny"), "assistant@3");
  EXPECT_EQ(answered_by(*fake::accepted(1).read(), "tiny"), "tiny");
}

}  // namespace
}  // namespace collm::gateway
