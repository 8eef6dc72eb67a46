// Tokenizers of every kind, trained small and run by Hugging Face (tokenizer_kinds_oracle.py).
#include "text/tokenizer_json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "text/text_stream.hpp"
#include "text/tokenizer.hpp"

namespace collm::text {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using token_list = std::vector<std::int32_t>;

const json& golden() {
  static const json all = [] {
    std::ifstream file(COLLM_SOURCE_DIR "/tests/golden/tokenizer_kinds.json");
    return json::parse(file);
  }();
  return all;
}

vocabulary vocabulary_of(const std::string& kind) {
  const auto read = parse_tokenizer_json(golden()["kinds"][kind]["tokenizer"].dump(), "");
  EXPECT_TRUE(read) << read.failure().message;
  return read ? *read : vocabulary();
}

std::shared_ptr<const tokenizer> make(vocabulary vocab) {
  const auto made = tokenizer::make(std::move(vocab));
  EXPECT_TRUE(made) << made.failure().message;
  return made ? *made : nullptr;
}

void expect_golden(const tokenizer& t, const std::string& kind) {
  const json& texts = golden()["texts"];
  const json& expected = golden()["kinds"][kind]["ids"];
  ASSERT_EQ(texts.size(), expected.size());
  ASSERT_GE(texts.size(), 30u);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string text = texts[i];
    EXPECT_EQ(t.encode(text, true), expected[i].front().get<token_list>()) << texts[i];
    EXPECT_EQ(t.encode(text, false), expected[i].back().get<token_list>()) << texts[i];
  }
}

class tokenizer_json : public testing::TestWithParam<const char*> {};

TEST_P(tokenizer_json, encodes_as_hugging_face_does) {
  expect_golden(*make(vocabulary_of(GetParam())), GetParam());
}

TEST_P(tokenizer_json, puts_first_what_the_post_processor_puts_first) {
  const auto t = make(vocabulary_of(GetParam()));
  const json& prompts = golden()["kinds"][GetParam()]["prompts"];
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(t->encode_prompt(golden()["texts"][i].get<std::string>()),
              prompts[i].get<token_list>());
  }
}

TEST_P(tokenizer_json, decodes_and_streams_as_hugging_face_does) {
  const auto t = make(vocabulary_of(GetParam()));
  const json& other = golden()["kinds"][GetParam()]["decoded"];
  for (std::size_t i = 0; i < golden()["texts"].size(); ++i) {
    const std::string text = golden()["texts"][i];
    const std::string expected = other.value(std::to_string(i), text);
    const token_list ids = t->encode(text, true);
    EXPECT_EQ(t->decode(ids, true), expected) << text;
    text_stream stream(*t, {});
    std::string said;
    for (const std::int32_t id : ids) said += stream.push(id).text;
    EXPECT_EQ(said + stream.flush(), expected) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(kinds, tokenizer_json,
                         testing::Values("gpt2", "smollm", "qwen2", "llama3", "gemma", "llama2"),
                         [](const auto& info) { return std::string(info.param); });

// What a GGUF holds of the same tokenizers: scores, no merges, blanks in user-defined tokens.
vocabulary as_gguf(vocabulary vocab) {
  vocab.merges.clear();
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    const bool added = vocab.types[i] == token_type::user_defined;
    vocab.scores.push_back(added ? -1000.0f : -static_cast<float>(i));
    std::string& token = vocab.tokens[i];
    for (std::size_t at; added && (at = token.find("\u2581")) != std::string::npos;) {
      token.replace(at, 3, " ");
    }
  }
  return vocab;
}

TEST(sentence_piece, scores_imply_the_merges_of_hugging_faces_converter) {
  for (const std::string kind : {"gemma", "llama2"}) {
    expect_golden(*make(as_gguf(vocabulary_of(kind))), kind);
  }
}

TEST(sentence_piece, any_bytes_survive) {
  std::string all = "é\xC3(\xED\xA0\x80\xF4\x90 ";
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  for (const char* kind : {"gemma", "llama2"}) {
    const auto t = make(vocabulary_of(kind));
    EXPECT_EQ(t->decode(t->encode(all, false), true), all) << kind;
  }
}

TEST(sentence_piece, a_stream_holds_a_character_until_its_last_byte) {
  const auto t = make(vocabulary_of("gemma"));
  const token_list ids = t->encode("\U0001F600", false);
  ASSERT_EQ(ids.size(), 4u);
  text_stream stream(*t, {});
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(stream.push(ids[i]).text, "");
  EXPECT_EQ(stream.push(ids[3]).text, "\U0001F600");
}

TEST(sentence_piece, refuses_a_vocabulary_that_cannot_spell_everything) {
  vocabulary vocab = vocabulary_of("llama2");
  vocabulary no_scores = vocab, no_byte = vocab, odd_byte = vocab, no_number = as_gguf(vocab);
  no_scores.merges.clear();
  EXPECT_THAT(tokenizer::make(no_scores).failure().message, HasSubstr("as many scores as tokens"));
  const auto byte = std::ranges::find(vocab.tokens, "<0x41>") - vocab.tokens.begin();
  no_byte.types[static_cast<std::size_t>(byte)] = token_type::unused;
  EXPECT_THAT(tokenizer::make(no_byte).failure().message, HasSubstr("byte 65 has no token"));
  odd_byte.types[500] = token_type::byte;
  EXPECT_THAT(tokenizer::make(odd_byte).failure().message, HasSubstr("token 500"));
  no_number.scores[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(tokenizer::make(no_number).failure().message, HasSubstr("score of token 7"));
}

TEST(tokenizer_config, names_tokens_and_the_chat_template) {
  const std::string text = golden()["kinds"]["gemma"]["tokenizer"].dump();
  const auto read = parse_tokenizer_json(text, R"({"bos_token": {"content": "<s>"},
      "eos_token": "</s>", "chat_template": [{"name": "tools", "template": "t"},
      {"name": "default", "template": "d"}]})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->tokens[static_cast<std::size_t>(read->bos)], "<s>");
  EXPECT_EQ(read->tokens[static_cast<std::size_t>(read->eos)], "</s>");
  EXPECT_EQ(read->tokens[static_cast<std::size_t>(read->unknown)], "<unk>");
  EXPECT_TRUE(read->add_bos);
  EXPECT_EQ(read->chat_template, "d");
  EXPECT_FALSE(parse_tokenizer_json(text, "[]"));
}

TEST(pad_tokens, fills_up_to_the_rows_of_the_embeddings) {
  vocabulary vocab = vocabulary_of("qwen2");
  const std::size_t size = vocab.tokens.size();
  pad_tokens(vocab, size + 2);
  EXPECT_EQ(vocab.tokens.back(), "[PAD" + std::to_string(size + 1) + "]");
  expect_golden(*make(vocab), "qwen2");
}

struct damage {
  const char* name;
  const char* kind;
  std::function<void(json&)> change;
  const char* message;
};

class tokenizer_json_refuses : public testing::TestWithParam<damage> {};

TEST_P(tokenizer_json_refuses, and_says_what_and_what_is_built) {
  json text = golden()["kinds"][GetParam().kind]["tokenizer"];
  GetParam().change(text);
  const auto read = parse_tokenizer_json(text.dump(), "");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.failure().code, errc::corrupt);
  EXPECT_THAT(read.failure().message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    parts, tokenizer_json_refuses,
    testing::Values(
        damage{"model", "gpt2", [](json& j) { j["model"]["type"] = "Unigram"; },
               "model type 'Unigram' is not built; supported: BPE"},
        damage{"dropout", "gpt2", [](json& j) { j["model"]["dropout"] = 0.1; }, "model.dropout"},
        damage{"suffix", "gpt2", [](json& j) { j["model"]["end_of_word_suffix"] = "</w>"; },
               "model.end_of_word_suffix"},
        damage{"no_model", "gpt2", [](json& j) { j.erase("model"); }, "model type ''"},
        damage{"no_vocab", "gpt2", [](json& j) { j["model"].erase("vocab"); }, "model.vocab"},
        damage{"no_merges", "gpt2", [](json& j) { j["model"].erase("merges"); }, "model.merges"},
        damage{"merge", "gpt2",
               [](json& j) {
                 j["model"]["merges"][1] = {"a b", "c"};
               },
               "merge 1"},
        damage{"gap", "gemma", [](json& j) { j["model"]["vocab"].erase("<0x41>"); },
               "ids must run"},
        damage{"id", "gpt2", [](json& j) { j["model"]["vocab"]["A"] = 1 << 30; }, "an id below"},
        damage{"same_id", "gpt2", [](json& j) { j["model"]["vocab"]["A"] = 3; }, "both have id 3"},
        damage{"pre_tokenizer", "qwen2",
               [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\w+"; },
               "pre_tokenizer {"},
        damage{"normalizer", "qwen2", [](json& j) { j["normalizer"] = nullptr; },
               "normalizer null is not built; supported: byte-level BPE as GPT-2"},
        damage{"nfkc", "gpt2",
               [](json& j) {
                 j["normalizer"] = {{"type", "NFKC"}};
               },
               "normalizer {\"type\":\"NFKC\"}"},
        damage{"decoder", "gpt2", [](json& j) { j["decoder"] = nullptr; }, "decoder null"},
        damage{"ignore_merges", "llama3", [](json& j) { j["model"].erase("ignore_merges"); },
               "ignore_merges must be true"},
        damage{"processor", "llama3",
               [](json& j) {
                 j["post_processor"] = {{"type", "Bert"}};
               },
               "post_processor {"},
        damage{"processor_token", "llama2",
               [](json& j) { j["post_processor"]["single"][0]["SpecialToken"]["id"] = "<none>"; },
               "'<none>'"},
        damage{"metaspace", "llama2",
               [](json& j) {
                 j["pre_tokenizer"] = {{"type", "Metaspace"}};
               },
               "pre_tokenizer {\"type\":\"Metaspace\"}"},
        damage{"strip", "llama2", [](json& j) { j["decoder"]["decoders"].erase(3); }, "decoder {"},
        damage{"lstrip", "gemma", [](json& j) { j["added_tokens"][1]["lstrip"] = true; }, "lstrip"},
        damage{"normalized", "gemma", [](json& j) { j["added_tokens"][1]["normalized"] = true; },
               "normalized"},
        damage{"blank", "gemma",
               [](json& j) {
                 j["added_tokens"].push_back({{"id", 1}, {"content", "a b"}, {"special", false}});
               },
               "'a b' has a blank"},
        damage{"unknown_bytes", "gpt2",
               [](json& j) {
                 j["model"]["unk_token"] = "A";
                 j["model"]["vocab"]["??"] = j["model"]["vocab"]["B"];
                 j["model"]["vocab"].erase("B");
               },
               "byte 66 has no token"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(tokenizer_json_text, is_refused_if_it_is_no_json_object) {
  for (const char* text : {"", "{", "[]", "null", "{\"model\": 3}"}) {
    EXPECT_FALSE(parse_tokenizer_json(text, "")) << text;
  }
}

TEST(tokenizer_json, nesting_without_end_is_refused) {
  const std::string deep = std::string(500000, '[') + std::string(500000, ']');
  const std::string whole = golden()["kinds"]["smollm"]["tokenizer"].dump();
  for (const auto& read : {parse_tokenizer_json(R"({"normalizer":)" + deep + "}"),
                           parse_tokenizer_json(whole, R"({"chat_template":)" + deep + "}")}) {
    ASSERT_FALSE(read);
    EXPECT_THAT(read.failure().message, HasSubstr("not a JSON object"));
  }
}

TEST(tokenizer_json, the_template_of_its_own_file_outranks_the_configs) {
  const std::string whole = golden()["kinds"]["smollm"]["tokenizer"].dump();
  const std::string config = R"({"chat_template": "from the config"})";
  EXPECT_EQ(parse_tokenizer_json(whole)->chat_template, "");
  EXPECT_EQ(parse_tokenizer_json(whole, config)->chat_template, "from the config");
  EXPECT_EQ(parse_tokenizer_json(whole, config, "from the file")->chat_template, "from the file");
}

}  // namespace
}  // namespace collm::text
