#include "text/tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "tests/unit/text_tiny.hpp"

namespace collm::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using tiny::byte_token;
using tokens = std::vector<std::int32_t>;

constexpr std::int32_t first_merge = tiny::first_byte + 256;

TEST(tokenizer, merges_within_words_only) {
  const auto t = tiny::make_tokenizer(tiny::make_vocabulary({{"a", "b"}, {" ", "ab"}, {"b", " "}}));
  EXPECT_EQ(t->encode("ab ab", true), (tokens{first_merge, first_merge + 1}));
  EXPECT_TRUE(t->encode("", true).empty());
}

TEST(tokenizer, control_spellings_are_tokens_only_if_asked_for) {
  const auto t = tiny::make_tokenizer();
  EXPECT_THAT(t->encode("a<|im_end|>b", true),
              ElementsAre(byte_token('a'), tiny::turn_end, byte_token('b')));
  const tokens plain = t->encode("a<|im_end|>b", false);
  EXPECT_EQ(plain.size(), 12u);
  for (const std::int32_t id : plain) EXPECT_FALSE(t->is_control(id));
  EXPECT_EQ(t->decode(plain, false), "a<|im_end|>b");
}

TEST(tokenizer, control_spellings_match_leftmost_then_longest) {
  const auto t = tiny::make_tokenizer();
  EXPECT_THAT(t->encode("<|im_end|>>", true), ElementsAre(tiny::turn_end_all));
  EXPECT_THAT(t->encode("<|im_end|><|im_end|>>", true),
              ElementsAre(tiny::turn_end, tiny::turn_end_all));
  EXPECT_THAT(t->encode("<<|im_start|>", true), ElementsAre(byte_token('<'), tiny::turn_start));
}

TEST(tokenizer, user_defined_tokens_are_always_matched) {
  vocabulary vocab = tiny::make_vocabulary();
  tiny::add(vocab, "<tab/>", token_type::user_defined);
  const auto t = tiny::make_tokenizer(vocab);
  EXPECT_THAT(t->encode("<tab/>", false), ElementsAre(first_merge));
  EXPECT_FALSE(t->is_control(first_merge));
  EXPECT_EQ(t->decode(tokens{first_merge}, true), "<tab/>");
}

TEST(tokenizer, plain_text_never_becomes_a_control_token_by_merging) {
  vocabulary vocab = tiny::make_vocabulary();
  tiny::add(vocab, "<>", token_type::control);
  vocab.merges.push_back("< >");
  const auto made = tokenizer::make(vocab);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.failure().message, HasSubstr("'< >'"));
}

TEST(tokenizer, decoding_gives_back_any_bytes) {
  const auto t = tiny::make_tokenizer(tiny::make_vocabulary({{"\xC3", "\xA9"}, {"n", "'"}}));
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  for (const std::string& text : {all, std::string("né\xC3(\xED\xA0\x80\xF4\x90 don't \0x", 20)}) {
    EXPECT_EQ(t->decode(t->encode(text, true), false), text);
  }
}

TEST(tokenizer, decode_can_hide_control_tokens_and_skips_ids_out_of_range) {
  const auto t = tiny::make_tokenizer();
  const tokens ids = {tiny::turn_start, byte_token('x'), -1, t->size(), tiny::turn_end};
  EXPECT_EQ(t->decode(ids, true), "x");
  EXPECT_EQ(t->decode(ids, false), "<|im_start|>x<|im_end|>");
  EXPECT_EQ(t->token_bytes(t->size()), "");
  EXPECT_FALSE(t->is_control(-1));
}

TEST(tokenizer, is_shared_by_threads) {
  const auto t = tiny::make_tokenizer(tiny::make_vocabulary({{"a", "b"}, {"ab", "ab"}}));
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "abab 12 <|im_end|>é ";
  const tokens expected = t->encode(text, true);
  std::vector<tokens> got(4);
  std::vector<std::thread> threads;
  for (tokens& mine : got) threads.emplace_back([&] { mine = t->encode(text, true); });
  for (std::thread& thread : threads) thread.join();
  for (const tokens& mine : got) EXPECT_EQ(mine, expected);
}

struct broken {
  const char* name;
  std::function<void(vocabulary&)> damage;
  const char* message;
};

class tokenizer_refuses : public testing::TestWithParam<broken> {};

TEST_P(tokenizer_refuses, and_says_what_and_where) {
  vocabulary vocab = tiny::make_vocabulary({{"a", "b"}});
  ASSERT_TRUE(tokenizer::make(vocab));
  GetParam().damage(vocab);
  const auto made = tokenizer::make(vocab);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.failure().code, errc::corrupt);
  EXPECT_THAT(made.failure().message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    vocabularies, tokenizer_refuses,
    testing::Values(
        broken{"model", [](auto& v) { v.model = "t5"; },
               "model 't5' is not built; supported: 'gpt2', 'llama'"},
        broken{"pre_tokenizer", [](auto& v) { v.pre_tokenizer = "tekken"; },
               "'tekken' is not built; supported: 'smollm', 'gpt-2', 'qwen2', 'llama-bpe'"},
        broken{"add_bos", [](auto& v) { v.add_bos = true; }, "no bos token id"},
        broken{"no_tokens", [](auto& v) { v.tokens.clear(); }, "no tokens"},
        broken{"types", [](auto& v) { v.types.pop_back(); }, "261 tokens but 260 token types"},
        broken{"bos", [](auto& v) { v.bos = 261; }, "bos token id 261 is not in 0..260"},
        broken{"eos", [](auto& v) { v.eos = -2; }, "eos token id -2"},
        broken{"empty", [](auto& v) { tiny::add(v, ""); }, "token 261 is empty"},
        broken{"long_spelling", [](auto& v) { tiny::add(v, std::string(1025, 'a')); },
               "token 261 is spelled with 1025 bytes; at most 1024"},
        broken{"twice", [](auto& v) { tiny::add(v, "ab"); }, "tokens 260 and 261 are both 'ab'"},
        broken{"spelling", [](auto& v) { tiny::add(v, "日"); }, "token 261, '日', is not spelled"},
        broken{"byte_type", [](auto& v) { tiny::add(v, "zz", token_type::byte); }, "token 261"},
        broken{"merge_form", [](auto& v) { v.merges.push_back("ab"); }, "merge 1, 'ab',"},
        broken{"merge_join", [](auto& v) { v.merges.push_back("a c"); }, "merge 1, 'a c',"},
        broken{"merge_part", [](auto& v) { v.merges.push_back("a xx"); }, "merge 1, 'a xx',"},
        broken{"merge_twice", [](auto& v) { v.merges.push_back("a b"); }, "is there twice"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace collm::text
