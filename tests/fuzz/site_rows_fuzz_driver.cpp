// Inputs of site_rows_fuzz.cpp: mutations of a site's lines, in each of the ways they come.
#include "tests/fuzz/fuzz_main.hpp"
#include "tests/fuzz/mutation.hpp"

namespace {

using collm::fuzz::mutated;
using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr std::string_view lines[] = {
    "{\"messages\":[{\"role\":\"user\",\"content\":\"What?\"},{\"role\":\"assistant\",\"content\":"
    "\"That.\"}]}",
    "{\"prompt\":\"Once\",\"completion\":\" upon\"}",
    "{\"messages\":[{\"role\":\"system\",\"content\":\"\"},{\"role\":\"user\",\"content\":\"\\u00e9"
    "\"},{\"role\":\"assistant\",\"content\":\"a\\nb\\u0000\",\"weight\":1}],\"user\":7}"};
constexpr std::string_view texts[] = {
    "{\"messages\":[{\"role\":\"user\",\"content\":\"What?\"},{\"role\":\"assistant\",\"content\":"
    "\"That.\"}]}\n{\"prompt\":\"Once\",\"completion\":\" upon\"}\r\n\n",
    "{\"messages\":[{\"role\":\"system\",\"content\":\"\"},{\"role\":\"user\",\"content\":\"\\u00e9"
    "\"},{\"role\":\"assistant\",\"content\":\"a\\nb\\u0000\",\"weight\":1}],\"user\":7}\n"
    "{\"prompt\":\"\xc3\xa9\",\"completion\":\"\\ud83d\\ude00\"}\n \t\nno row\n",
    "{\"prompt\":\"a\",\"completion\":\"1\"}\n{\"prompt\":\"a\",\"completion\":\"2\"}\n"
    "{\"prompt\":\"a\",\"completion\":\"3\"}\n{\"prompt\":\"a\",\"completion\":\"4\"}\n"
    "{\"prompt\":\"b\",\"completion\":\"1\"}\n{\"prompt\":\"b\",\"completion\":\"2\"}\n"
    "{\"prompt\":\"b\",\"completion\":\"3\"}\n{\"prompt\":\"b\",\"completion\":\"4\"}\n"
    "{\"prompt\":\"c\",\"completion\":\"1\"}\n{\"prompt\":\"c\",\"completion\":\"2\"}\n"
    "{\"prompt\":\"c\",\"completion\":\"3\"}\n{\"prompt\":\"c\",\"completion\":\"4\"}\n"};
constexpr std::string_view feedback[] = {
    "[{\"role\":\"user\",\"content\":\"Where?\"}]\nHere.", "[plain text\n goes on]", "Once\n upon",
    "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"\xe2\x82\xac\"}]\n"
    "\xe2\x82\xac 3"};
constexpr std::string_view pieces[] = {"{",
                                       "}",
                                       "[",
                                       "]",
                                       ",",
                                       ":",
                                       "\"",
                                       "\n",
                                       "\r\n",
                                       "\r",
                                       " ",
                                       "null",
                                       "-1e999",
                                       "\\ud800",
                                       "\\u0000",
                                       "\0"sv,
                                       "\xff",
                                       "\xef\xbb\xbf",
                                       "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                                       "\"prompt\":",
                                       "\"completion\":\"x\"",
                                       "\"messages\":[",
                                       "{\"role\":\"user\",\"content\":\"\"},",
                                       "{\"prompt\":\"p\",\"completion\":\"c\"}\n"};

/// A line by itself costs a hundredth of what a store does.
std::string made(std::mt19937& random, int i) {
  switch (i % 64) {
    case 1:
      return "\1" + mutated(random, texts, pieces);
    case 2:
      return "\2" + std::string(1, static_cast<char>(random())) + mutated(random, texts, pieces) +
             mutated(random, texts, pieces);
    case 3:
      return "\3" + mutated(random, feedback, pieces);
    default:
      return "\0"s + mutated(random, lines, pieces);
  }
}

}  // namespace

void collm::fuzz::drive(void (&run)(const std::string& bytes), std::uint32_t seed) {
  std::mt19937 random(14 + seed);
  for (const auto text : lines) run("\0"s.append(text));
  for (const auto text : texts) {
    run("\1"s.append(text));
    for (const char part : {'\0', '\x60', '\xff'}) run("\2"s.append(1, part).append(text));
  }
  for (const auto text : feedback) run("\3"s.append(text));
  for (int i = 0; i < 20000; ++i) run(made(random, i));
}
