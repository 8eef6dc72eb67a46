// What of others' texts reaches a log or a terminal.
#include "messages/shown_text.hpp"

#include <gtest/gtest.h>

namespace collm {
namespace {

TEST(shown_text, begins_with_whole_characters) {
  EXPECT_EQ(beginning("kitchen", 7), "kitchen");
  EXPECT_EQ(beginning("kitchen", 4), "kitc");
  EXPECT_EQ(beginning("K\xc3\xbc", 2), "K");
  EXPECT_EQ(beginning("K\xc3\xbc", 3), "K\xc3\xbc");
  EXPECT_EQ(beginning("\x80\x80\x80", 2), "") << "no UTF-8: nothing is read before its start";
}

TEST(shown_text, is_one_line_without_escapes) {
  EXPECT_EQ(on_one_line("lost\n2026 [error] forged\r\t"), "lost?2026 [error] forged??");
  EXPECT_EQ(on_one_line("\x1b[31mred\x7f"), "?[31mred?");
  EXPECT_EQ(on_one_line("\xc2\x9b"
                        "2J"),
            "?2J")
      << "C1: a terminal takes it for an escape";
  EXPECT_EQ(on_one_line(std::string_view("a\0b", 3)), "a?b");
}

TEST(shown_text, leaves_other_alphabets_alone) {
  const std::string text =
      "K\xc3\xbc"
      "che \xe2\x80\x93 \xe5\x8f\xb0 \xc2";
  EXPECT_EQ(on_one_line(text), text);
}

}  // namespace
}  // namespace collm
