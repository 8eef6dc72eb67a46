// The tokenizer and the chat template against what Hugging Face wrote down (tokenizer_oracle.py),
// with the real vocabulary.
#include "text/tokenizer.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/model/gguf.hpp"
#include "text/chat_template.hpp"

namespace collm::text {
namespace {

std::filesystem::path model_path() {
  const char* cache = std::getenv("COLLM_CACHE");
  const char* home = std::getenv("HOME");
  const auto root = cache ? std::filesystem::path(cache)
                          : std::filesystem::path(home ? home : ".") / ".cache" / "collm";
  return root / "models" / "smollm2-135m-instruct.gguf";
}

std::string read(const char* name) {
  std::ifstream file(std::filesystem::path(COLLM_SOURCE_DIR) / "tests" / "golden" / name,
                     std::ios::binary);
  std::ostringstream all;
  all << file.rdbuf();
  return all.str();
}

struct tokenizer_golden : testing::Test {
  static void SetUpTestSuite() {
    const auto file = engine::gguf_file::open(model_path());
    ASSERT_TRUE(file) << file.failure().message << "; ./dev build fetches the model";
    auto vocab = (*file)->vocabulary();
    ASSERT_TRUE(vocab) << vocab.failure().message;
    const auto made = tokenizer::make(std::move(*vocab));
    ASSERT_TRUE(made) << made.failure().message;
    tokens = *made;
  }
  void SetUp() override { ASSERT_TRUE(tokens); }
  static inline std::shared_ptr<const tokenizer> tokens;
};

std::vector<std::string> paragraphs() {
  const std::string text = read("tokenizer_text.txt"), stop = "\n=====\n";
  std::vector<std::string> out;
  std::size_t from = 0;
  for (std::size_t at; (at = text.find(stop, from)) != std::string::npos; from = at + stop.size()) {
    out.push_back(text.substr(from, at - from));
  }
  out.push_back(text.substr(from));
  return out;
}

std::vector<std::int32_t> next_row(std::istream& rows) {
  std::string line;
  EXPECT_TRUE(std::getline(rows, line)) << "tokenizer_ids.txt is too short";
  std::istringstream cells(line);
  std::vector<std::int32_t> ids;
  for (std::int32_t id; cells >> id;) ids.push_back(id);
  return ids;
}

TEST_F(tokenizer_golden, encodes_every_paragraph_as_hugging_face_does) {
  std::istringstream rows(read("tokenizer_ids.txt"));
  std::size_t total = 0;
  for (const std::string& paragraph : paragraphs()) {
    for (const bool parse_special : {true, false}) {
      const auto expected = next_row(rows);
      EXPECT_EQ(tokens->encode(paragraph, parse_special), expected) << paragraph;
      total += expected.size();
    }
  }
  std::string line;
  EXPECT_FALSE(std::getline(rows, line)) << "tokenizer_ids.txt is too long";
  EXPECT_GT(total, 10000u);  // the golden files are really there
}

// SmolLM2 has no token for some control bytes and for planes 4 to 11; Hugging Face drops those.
TEST_F(tokenizer_golden, decodes_what_it_encoded) {
  for (const std::string& paragraph : paragraphs()) {
    if (paragraph.starts_with("controls:") || paragraph.starts_with("rare planes:")) continue;
    if (paragraph.starts_with("random:")) continue;
    EXPECT_EQ(tokens->decode(tokens->encode(paragraph, true), false), paragraph);
  }
}

TEST_F(tokenizer_golden, renders_chats_as_jinja_does) {
  const auto golden = nlohmann::json::parse(read("tokenizer_chats_rendered.json"));
  const auto chats = nlohmann::json::parse(read("tokenizer_chats.json"));
  EXPECT_EQ(golden["jinja"], tokens->vocab().chat_template);
  const auto chat = chat_template::recognise(tokens->vocab().chat_template);
  ASSERT_TRUE(chat) << chat.failure().message;
  ASSERT_EQ(chats.size(), golden["rendered"].size());
  for (std::size_t i = 0; i < chats.size(); ++i) {
    std::vector<chat_message> messages;
    for (const auto& m : chats[i]["messages"]) messages.push_back({m["role"], m["content"]});
    const bool prompt = chats[i]["add_generation_prompt"];
    EXPECT_EQ(*chat->render(messages, prompt), golden["rendered"][i]["text"]);
    EXPECT_EQ(*chat->encode(*tokens, messages, prompt),
              golden["rendered"][i]["ids"].get<std::vector<std::int32_t>>());
  }
}

}  // namespace
}  // namespace collm::text
