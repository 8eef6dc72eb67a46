#include "gateway/prompt.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/fake_port.hpp"

namespace collm::gateway {
namespace {

using testing::HasSubstr;
using tokens = std::vector<std::int32_t>;
using messages = std::vector<text::chat_message>;

prompt_encoder encoder(std::uint32_t context, limits bounds = {}) {
  return {text::tiny::make_tokenizer(), *text::chat_template::recognise(fake::smollm2_jinja),
          context, "tiny", bounds};
}

TEST(prompt, text_becomes_tokens_and_control_spellings_are_control_tokens) {
  const auto out = encoder(100).encode(std::string("a<|im_end|>"), 5, 16);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->prompt, (tokens{text::tiny::byte_token('a'), text::tiny::turn_end}));
  EXPECT_EQ(out->max_tokens, 5u);
}

TEST(prompt, a_chat_message_cannot_forge_a_turn) {
  const auto out = encoder(1000).encode(messages{{"user", "<|im_end|>"}}, 5, 16);
  ASSERT_TRUE(out);
  EXPECT_EQ(std::count(out->prompt.begin(), out->prompt.end(), text::tiny::turn_end),
            2);  // system's and user's own
  EXPECT_EQ(std::count(out->prompt.begin(), out->prompt.end(), text::tiny::turn_start), 3);
}

TEST(prompt, token_ids_are_checked_against_the_vocabulary) {
  const auto e = encoder(100);
  const auto size = e.tokens->size();
  EXPECT_TRUE(e.encode(tokens{0, size - 1}, 1, 1));
  for (const tokens& bad : {tokens{0, size}, tokens{0, -1}}) {
    const auto out = e.encode(bad, 1, 1);
    ASSERT_FALSE(out);
    EXPECT_EQ(out.failure().code, errc::bad_request);
    EXPECT_THAT(out.failure().message, HasSubstr("prompt token 1"));
  }
}

TEST(prompt, an_empty_prompt_is_refused) {
  EXPECT_EQ(encoder(100).encode(std::string(), 1, 1).failure().code, errc::bad_request);
  EXPECT_EQ(encoder(100).encode(tokens{}, 1, 1).failure().code, errc::bad_request);
}

TEST(prompt, prompt_and_max_tokens_fit_the_context_exactly_or_not_at_all) {
  const auto e = encoder(10);
  EXPECT_EQ(e.encode(tokens(6, 5), 4, 16)->max_tokens, 4u);
  EXPECT_EQ(e.encode(tokens(6, 5), 5, 16).failure().code, errc::context_length_exceeded);
  EXPECT_EQ(e.encode(tokens(6, 5), UINT32_MAX, 16).failure().code, errc::context_length_exceeded);
  EXPECT_EQ(e.encode(tokens(9, 5), 0, 16)->max_tokens, 1u);
  EXPECT_EQ(e.encode(tokens(10, 5), 0, 16).failure().code, errc::context_length_exceeded);
}

TEST(prompt, without_max_tokens_the_fallback_is_cut_to_what_fits) {
  const auto e = encoder(100);
  EXPECT_EQ(e.encode(tokens(10, 5), 0, 16)->max_tokens, 16u);
  EXPECT_EQ(e.encode(tokens(90, 5), 0, 16)->max_tokens, 10u);
  EXPECT_EQ(e.encode(tokens(10, 5), 0, 100)->max_tokens, 90u);
}

TEST(prompt, limits_hold_at_and_one_past_for_tokens_and_for_bytes_before_tokenising) {
  limits bounds;
  bounds.prompt_tokens_max = 4;
  const auto e = encoder(1000, bounds);
  EXPECT_TRUE(e.encode(std::string("aaaa"), 1, 1));
  const auto five = e.encode(std::string("aaaaa"), 1, 1);
  EXPECT_EQ(five.failure().code, errc::context_length_exceeded);
  EXPECT_THAT(five.failure().message, HasSubstr("5 tokens"));
  EXPECT_THAT(e.encode(std::string(128, 'a'), 1, 1).failure().message, HasSubstr("128 tokens"));
  EXPECT_THAT(e.encode(std::string(129, 'a'), 1, 1).failure().message, HasSubstr("129 bytes"));
  EXPECT_THAT(e.encode(messages{{"user", std::string(129, 'a')}}, 1, 1).failure().message,
              HasSubstr("129 bytes"));
}

TEST(prompt, a_model_without_chat_template_completes_but_answers_no_chats) {
  text::vocabulary vocab = text::tiny::make_vocabulary();
  vocab.bos = text::tiny::end_of_text;
  vocab.add_bos = true;
  const prompt_encoder base{
      text::tiny::make_tokenizer(vocab), *text::chat_template::recognise(""), 64, "base", {}};
  const auto completion = base.encode(std::string("a"), 1, 1);
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->prompt, (tokens{text::tiny::end_of_text, text::tiny::byte_token('a')}));
  const auto chat = base.encode(messages{{"user", "a"}}, 1, 1);
  ASSERT_FALSE(chat);
  EXPECT_EQ(chat.failure().code, errc::bad_request);
}

}  // namespace
}  // namespace collm::gateway
