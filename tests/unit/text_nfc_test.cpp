#include "text/nfc.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace collm::text {
namespace {

TEST(nfc, composes_what_hugging_face_composes) {
  std::ifstream file(COLLM_SOURCE_DIR "/tests/golden/nfc_texts.json");
  const auto pairs = nlohmann::json::parse(file);
  ASSERT_GE(pairs.size(), 300u);
  for (const auto& pair : pairs) {
    const std::string text = pair[0], composed = pair[1];
    EXPECT_EQ(to_nfc(text), composed) << pair[0];
    EXPECT_EQ(to_nfc(composed), composed);
    EXPECT_TRUE(!nfc_at_once(text) || text == composed) << pair[0];
  }
}

TEST(nfc, keeps_bytes_that_are_not_utf8_and_composes_around_them) {
  EXPECT_EQ(to_nfc("e\u0301\xFF\u0301"
                   "e\xE4\xB8"),
            "é\xFF\u0301"
            "e\xE4\xB8");
  EXPECT_EQ(to_nfc(""), "");
}

// Marks sort in n log n: a quadratic loop would take minutes here.
TEST(nfc, a_megabyte_of_marks_is_done_at_once) {
  std::string text = "e";
  for (int i = 0; i < 1 << 18; ++i) text += i % 2 == 0 ? "\u0316" : "\u0334";
  const std::string composed = to_nfc(text);
  EXPECT_EQ(composed.size(), text.size());
  EXPECT_TRUE(composed.starts_with("e\u0334\u0334") && composed.ends_with("\u0316\u0316"));
}

}  // namespace
}  // namespace collm::text
