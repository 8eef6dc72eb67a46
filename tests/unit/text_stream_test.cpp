#include "text/text_stream.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "tests/unit/text_tiny.hpp"
#include "text/utf8.hpp"

namespace collm::text {
namespace {

using strings = std::vector<std::string>;

/// A tokenizer whose tokens include `pieces`, and their ids.
struct pieces_as_tokens {
  std::shared_ptr<const tokenizer> tokens;
  std::vector<std::int32_t> ids;

  explicit pieces_as_tokens(const strings& pieces) {
    vocabulary vocab = tiny::make_vocabulary();
    std::map<std::string, std::int32_t> known;
    for (std::size_t i = tiny::first_byte; i < vocab.tokens.size(); ++i) {
      known[*unspell(vocab.tokens[i])] = static_cast<std::int32_t>(i);
    }
    for (const std::string& piece : pieces) {
      const auto next = static_cast<std::int32_t>(vocab.tokens.size());
      const auto [entry, added] = known.emplace(piece, next);
      if (added) tiny::add(vocab, tiny::spell(piece));
      ids.push_back(entry->second);
    }
    tokens = tiny::make_tokenizer(std::move(vocab));
  }
};

/// What each push shows, "|stop" once stopped, and last what flush gives.
strings stream(const strings& pieces, const strings& stops) {
  const pieces_as_tokens made(pieces);
  text_stream s(*made.tokens, stops);
  strings shown;
  for (const std::int32_t id : made.ids) {
    const text_stream::piece p = s.push(id);
    shown.push_back(p.text + (p.stopped ? "|stop" : ""));
  }
  shown.push_back(s.flush());
  return shown;
}

TEST(text_stream, shows_text_at_once_without_stops) {
  EXPECT_EQ(stream({"He", "llo"}, {}), (strings{"He", "llo", ""}));
}

TEST(text_stream, holds_an_incomplete_character) {
  EXPECT_EQ(stream({"a\xF0\x9F", "\x98", "\x80!"}, {}), (strings{"a", "", "😀!", ""}));
}

TEST(text_stream, shows_bytes_that_are_no_utf8_as_replacement) {
  EXPECT_EQ(stream({"\xFF", "\xE4", "x", "\xE4\xB8"}, {}),
            (strings{"\uFFFD", "", "\uFFFDx", "", "\uFFFD"}));
}

TEST(text_stream, finds_a_stop_string_across_tokens) {
  EXPECT_EQ(stream({"one S", "TO", "P two"}, {"STOP"}), (strings{"one ", "", "|stop", ""}));
}

TEST(text_stream, gives_back_what_was_no_stop_string_after_all) {
  EXPECT_EQ(stream({"S", "T", "ART"}, {"STOP"}), (strings{"", "", "START", ""}));
  EXPECT_EQ(stream({"a", "ST"}, {"STOP"}), (strings{"a", "", "ST"}));
}

TEST(text_stream, the_stop_completed_first_wins_and_of_those_the_longest) {
  EXPECT_EQ(stream({"abcd"}, {"abcd", "c"}), (strings{"ab|stop", ""}));
  EXPECT_EQ(stream({"xabc"}, {"c", "bc", "zz"}), (strings{"xa|stop", ""}));
  EXPECT_EQ(stream({"aab"}, {"ab"}), (strings{"a|stop", ""}));
}

TEST(text_stream, repeated_beginnings_are_not_lost) {
  EXPECT_EQ(stream({"aa", "a", "b"}, {"aab"}), (strings{"", "a", "|stop", ""}));
  EXPECT_EQ(stream({"\n", "\n", "x"}, {"\n\n\n"}), (strings{"", "", "\n\nx", ""}));
}

TEST(text_stream, a_stop_string_may_be_cut_inside_a_character) {
  EXPECT_EQ(stream({"x\xC3", "\xA9", "y"}, {"éy"}), (strings{"x", "", "|stop", ""}));
}

TEST(text_stream, is_silent_after_a_stop) {
  EXPECT_EQ(stream({"a.", "b", "."}, {"."}), (strings{"a|stop", "|stop", "|stop", ""}));
}

TEST(text_stream, control_tokens_say_nothing_and_part_nothing) {
  const auto t = tiny::make_tokenizer();
  text_stream s(*t, {"ab"});
  EXPECT_EQ(s.push(tiny::byte_token('a')).text, "");
  EXPECT_EQ(s.push(tiny::turn_end).text, "");
  EXPECT_TRUE(s.push(tiny::byte_token('b')).stopped);
}

TEST(text_stream, ignores_stops_that_no_text_can_contain) {
  EXPECT_EQ(stream({"é"}, {"", "\xA9", "\xC3"}), (strings{"é", ""}));
}

// The reference: decode everything, then look.
std::string lossy(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const utf8_step step = utf8_next(bytes);
    utf8_append(out, step.state == utf8_state::whole ? step.point : 0xFFFD);
    bytes.remove_prefix(step.size);
  }
  return out;
}

struct outcome {
  std::string text;
  bool stopped;
};

outcome reference(const std::string& text, const strings& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop))
        longest = std::max(longest, stop.size());
    }
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

/// The longest end of `text` that begins a stop string.
std::size_t must_hold(const std::string& text, const strings& stops) {
  std::size_t longest = 0;
  for (const std::string& stop : stops) {
    for (std::size_t n = 1; n < stop.size(); ++n) {
      if (text.ends_with(stop.substr(0, n))) longest = std::max(longest, n);
    }
  }
  return longest;
}

/// `bytes` without an incomplete sequence at its end.
std::string complete(std::string_view bytes) {
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const utf8_step step = utf8_next(rest);
    if (step.state == utf8_state::truncated) break;
    rest.remove_prefix(step.size);
  }
  return lossy(bytes.substr(0, bytes.size() - rest.size()));
}

template <class Random>
strings pick(Random& random, const strings& from, std::size_t count) {
  strings out;
  while (out.size() < count) out.push_back(from[random() % from.size()]);
  return out;
}

std::string join(const strings& parts) {
  std::string out;
  for (const std::string& part : parts) out += part;
  return out;
}

void check(const strings& pieces, const strings& stops) {
  const pieces_as_tokens made(pieces);
  text_stream s(*made.tokens, stops);
  std::string bytes, shown;
  bool stopped = false;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const text_stream::piece p = s.push(made.ids[i]);
    bytes += pieces[i];
    shown += p.text;
    stopped = p.stopped;
    ASSERT_TRUE(utf8_valid(p.text));
    const std::string so_far = complete(bytes);
    const outcome expected = reference(so_far, stops);
    ASSERT_EQ(stopped, expected.stopped);
    const std::size_t held = stopped ? 0 : must_hold(so_far, stops);
    ASSERT_EQ(shown, expected.text.substr(0, expected.text.size() - held));
  }
  ASSERT_EQ(shown + s.flush(), reference(lossy(bytes), stops).text);
}

TEST(text_stream, equals_the_reference_for_random_splits_and_stops) {
  std::mt19937 random(11);
  const strings text_parts = {"a", "a",    "b",        "ab", "\n",    "é",
                              "😀", "\xFF", "\xE4\xB8", "中", "\uFFFD"};
  const strings stop_parts = {"a", "a", "b", "\n", "é", "😀", "\uFFFD"};
  for (int round = 0; round < 4000; ++round) {
    const std::string bytes = join(pick(random, text_parts, random() % 24));
    strings pieces;
    for (std::size_t at = 0; at < bytes.size();) {
      pieces.push_back(bytes.substr(at, 1 + random() % 5));
      at += pieces.back().size();
    }
    strings stops;
    for (std::size_t n = random() % 4; n > 0; --n) {
      stops.push_back(join(pick(random, stop_parts, 2 + random() % 5)));
    }
    check(pieces, stops);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
}

}  // namespace
}  // namespace collm::text
