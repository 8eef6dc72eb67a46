#include "text/merges.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

namespace collm::text {
namespace {

// 'a' is token 0, and so on.
std::vector<std::int32_t> letters(std::string_view piece) {
  std::vector<std::int32_t> tokens;
  for (const char c : piece) tokens.push_back(c - 'a');
  return tokens;
}

std::vector<std::int32_t> encode(const merges& table, std::string_view piece) {
  merges::scratch work;
  std::vector<std::int32_t> out;
  table.encode(letters(piece), work, out);
  return out;
}

// The twin: look through all pairs for the best rule, leftmost first, until none applies.
std::vector<std::int32_t> encode_naively(const merges& table,
                                         const std::vector<merges::rule>& rules,
                                         std::string_view piece) {
  std::vector<std::int32_t> tokens = letters(piece);
  for (;;) {
    std::size_t best = rules.size(), at = 0;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto rank = table.rank(tokens[i], tokens[i + 1]);
      if (rank && *rank < best) best = *rank, at = i;
    }
    if (best == rules.size()) return tokens;
    tokens[at] = rules[best].merged;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

struct random_rules {
  std::vector<merges::rule> rules;
  std::vector<std::string> spelling;

  random_rules(std::mt19937& random, int letter_count, int attempts) {
    std::map<std::string, std::int32_t> ids;
    for (int i = 0; i < letter_count; ++i) {
      spelling.emplace_back(1, static_cast<char>('a' + i));
      ids[spelling.back()] = i;
    }
    for (int i = 0; i < attempts; ++i) {
      const auto left = static_cast<std::int32_t>(random() % spelling.size());
      const auto right = static_cast<std::int32_t>(random() % spelling.size());
      const bool known = std::ranges::any_of(
          rules, [&](const merges::rule& r) { return r.left == left && r.right == right; });
      if (known) continue;
      const std::string join = spelling[std::size_t(left)] + spelling[std::size_t(right)];
      const auto [entry, added] = ids.emplace(join, static_cast<std::int32_t>(spelling.size()));
      if (added) spelling.push_back(join);
      rules.push_back({left, right, entry->second});
    }
    std::ranges::shuffle(rules, random);  // a rule may precede those that make its parts
  }
};

TEST(merges, apply_the_best_rank_first_not_the_leftmost) {
  const merges table({{1, 2, 3}, {0, 1, 4}});  // bc, then ab
  EXPECT_EQ(encode(table, "abc"), (std::vector<std::int32_t>{0, 3}));
}

TEST(merges, equal_ranks_go_left_to_right) {
  const merges table(std::vector<merges::rule>{{0, 0, 1}});
  EXPECT_EQ(encode(table, "aaaaa"), (std::vector<std::int32_t>{1, 1, 0}));
  EXPECT_TRUE(encode(table, "").empty());
}

TEST(merges, equal_the_naive_loop_on_random_rules) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const int letter_count = 1 + static_cast<int>(random() % 4);
    const random_rules made(random, letter_count, 1 + static_cast<int>(random() % 60));
    const merges table(made.rules);
    for (int i = 0; i < 20; ++i) {
      std::string piece;
      for (std::size_t n = random() % 64; n > 0; --n) {
        piece.push_back(static_cast<char>('a' + random() % static_cast<unsigned>(letter_count)));
      }
      ASSERT_EQ(encode(table, piece), encode_naively(table, made.rules, piece)) << piece;
    }
  }
}

// A quadratic loop would take hours here.
TEST(merges, a_megabyte_without_a_blank_is_done_at_once) {
  std::vector<merges::rule> rules;
  for (std::int32_t i = 0; i < 20; ++i) rules.push_back({i, i, i + 1});
  const merges table(rules);
  EXPECT_EQ(encode(table, std::string(1u << 20, 'a')), (std::vector<std::int32_t>{20}));
}

}  // namespace
}  // namespace collm::text
