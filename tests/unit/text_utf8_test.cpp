#include "text/utf8.hpp"

#include <gtest/gtest.h>

#include "text/byte_alphabet.hpp"
#include "text/unicode_class.hpp"

namespace collm::text {
namespace {

TEST(utf8, every_scalar_value_survives_a_round_trip) {
  for (char32_t point = 0; point < 0x110000; ++point) {
    if (point >= 0xD800 && point < 0xE000) continue;
    std::string bytes;
    utf8_append(bytes, point);
    const utf8_step step = utf8_next(bytes);
    ASSERT_EQ(step.state, utf8_state::whole) << static_cast<unsigned>(point);
    ASSERT_EQ(step.size, bytes.size());
    ASSERT_TRUE(step.point == point);
  }
}

// Unicode 15, table 3-8: one U+FFFD for each maximal subpart.
TEST(utf8, invalid_sequences_are_cut_at_maximal_subparts) {
  const auto size = [](std::string_view bytes) {
    const utf8_step step = utf8_next(bytes);
    EXPECT_EQ(step.state, utf8_state::invalid);
    return int{step.size};
  };
  EXPECT_EQ(size("\x80"), 1);              // continuation without a lead
  EXPECT_EQ(size("\xC0\x80"), 1);          // overlong
  EXPECT_EQ(size("\xE0\x9F\xBF"), 1);      // overlong, three bytes
  EXPECT_EQ(size("\xF0\x8F\xBF\xBF"), 1);  // overlong, four bytes
  EXPECT_EQ(size("\xED\xA0\x80"), 1);      // surrogate
  EXPECT_EQ(size("\xF4\x90\x80\x80"), 1);  // past U+10FFFF
  EXPECT_EQ(size("\xF5\x80\x80\x80"), 1);
  EXPECT_EQ(size("\xE4\xB8x"), 2);
  EXPECT_EQ(size("\xF0\x9F\x98x"), 3);
}

TEST(utf8, the_end_inside_a_sequence_is_truncated_not_invalid) {
  for (const std::string_view bytes : {"\xC3", "\xE4\xB8", "\xF0\x9F\x98"}) {
    const utf8_step step = utf8_next(bytes);
    EXPECT_EQ(step.state, utf8_state::truncated);
    EXPECT_EQ(step.size, bytes.size());
  }
  EXPECT_FALSE(utf8_valid("a\xC3"));
  EXPECT_TRUE(utf8_valid("a\xC3\xA9"));
  EXPECT_TRUE(utf8_valid(""));
  EXPECT_EQ(utf8_mended("a\xFF\xC3(\xC3\xA9\xC3"), "a\uFFFD\uFFFD(\u00E9\uFFFD");
}

TEST(byte_alphabet, spells_every_byte_with_its_own_character) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto back = unspell(spell_byte(static_cast<std::uint8_t>(byte)));
    ASSERT_TRUE(back);
    ASSERT_EQ(*back, std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(spell_byte(' '), "Ġ");
  EXPECT_EQ(spell_byte('\n'), "Ċ");
  EXPECT_EQ(spell_byte('~'), "~");
  EXPECT_EQ(spell_byte(0xAD), "Ń");
}

TEST(byte_alphabet, refuses_characters_outside) {
  EXPECT_FALSE(unspell("a b"));
  EXPECT_FALSE(unspell("日"));
  EXPECT_FALSE(unspell("\xC3"));
}

TEST(unicode_class, ranges_are_sorted_and_disjoint) {
  for (std::size_t i = 0; i < class_ranges.size(); ++i) {
    EXPECT_TRUE(class_ranges[i].first <= class_ranges[i].last);
    if (i == 0) continue;
    EXPECT_TRUE(class_ranges[i - 1].last < class_ranges[i].first);
  }
}

TEST(unicode_class, knows_the_edges) {
  EXPECT_EQ(classify('A' - 1), char_class::other);
  EXPECT_EQ(classify('A'), char_class::letter);
  EXPECT_EQ(classify(U'中'), char_class::letter);
  EXPECT_EQ(classify(U'٣'), char_class::number);
  EXPECT_EQ(classify(U'½'), char_class::number);
  EXPECT_EQ(classify(0x3000), char_class::space);
  EXPECT_EQ(classify(0x85), char_class::space);
  EXPECT_EQ(classify(0x200B), char_class::other);  // zero width space is no \s
  EXPECT_EQ(classify(0x301), char_class::other);   // combining marks are no letters
  EXPECT_EQ(classify(0x10FFFF), char_class::other);
  EXPECT_EQ(classify(0), char_class::other);
}

}  // namespace
}  // namespace collm::text
