// The tokenizer with the real vocabulary of Gemma 3 against what Hugging Face wrote down
// (gemma_oracle.py). Where the model is not fetched the tests are skipped.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <sstream>

#include "engine/model/gguf.hpp"
#include "text/chat_template.hpp"
#include "text/tokenizer.hpp"

namespace collm::text {
namespace {

std::filesystem::path model_path() {
  const char* cache = std::getenv("COLLM_CACHE");
  const char* home = std::getenv("HOME");
  const auto root = cache ? std::filesystem::path(cache)
                          : std::filesystem::path(home ? home : ".") / ".cache" / "collm";
  return root / "models" / "gemma3-270m.gguf";
}

std::string read(const char* name) {
  std::ifstream file(std::filesystem::path(COLLM_SOURCE_DIR) / "tests" / "golden" / name,
                     std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string digest(const std::vector<std::int32_t>& ids) {
  std::uint64_t state = 0xCBF29CE484222325;
  for (const std::int32_t id : ids)
    state = (state ^ static_cast<std::uint32_t>(id)) * 0x100000001B3;
  std::ostringstream line;
  line << ids.size() << ' ' << std::hex << std::setw(16) << std::setfill('0') << state;
  return line.str();
}

struct gemma_golden : testing::Test {
  void SetUp() override {
    if (!std::filesystem::exists(model_path())) GTEST_SKIP() << "there is no " << model_path();
    const auto file = engine::gguf_file::open(model_path());
    ASSERT_TRUE(file) << file.failure().message;
    auto vocab = (*file)->vocabulary();
    ASSERT_TRUE(vocab) << vocab.failure().message;
    const auto made = tokenizer::make(std::move(*vocab));
    ASSERT_TRUE(made) << made.failure().message;
    tokens = *made;
  }
  std::shared_ptr<const tokenizer> tokens;
};

TEST_F(gemma_golden, encodes_every_paragraph_as_hugging_face_does) {
  const std::string text = read("tokenizer_text.txt"), stop = "\n=====\n";
  std::istringstream rows(read("gemma_ids.txt"));
  std::size_t count = 0;
  for (std::size_t from = 0, at = 0; at != std::string::npos; from = at + stop.size(), ++count) {
    at = text.find(stop, from);
    const std::string paragraph = text.substr(from, at - from);
    for (const bool parse_special : {true, false}) {
      std::string expected;
      std::getline(rows, expected);
      const auto ids = tokens->encode(paragraph, parse_special);
      EXPECT_EQ(digest(ids), expected) << paragraph;
      EXPECT_EQ(tokens->decode(ids, false), paragraph);
    }
  }
  EXPECT_GT(count, 200u);  // the golden files are really there
}

TEST_F(gemma_golden, knows_its_bos_and_its_ends_and_that_it_answers_no_chats) {
  EXPECT_EQ(tokens->encode_prompt("Hi"), (std::vector<std::int32_t>{2, 10979}));
  EXPECT_EQ(end_tokens(tokens->vocab()), (std::vector<std::int32_t>{1, 106}));
  const auto chat = chat_template::recognise(tokens->vocab().chat_template);
  ASSERT_TRUE(chat);
  EXPECT_FALSE(chat->encode(*tokens, {{"user", "Hi"}}, true));
}

}  // namespace
}  // namespace collm::text
