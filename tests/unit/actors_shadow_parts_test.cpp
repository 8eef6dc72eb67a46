// The plain parts of the adapter shadow: batches from a cursor, notes of checkpoints, changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/batch_source.hpp"
#include "actors/shadow_task.hpp"

namespace collm::actors {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A row whose completion says how many tokens its sample has; 0: it cannot be encoded.
result<engine::training_sample> encoded(const store::site_row& row) {
  const auto tokens = static_cast<std::size_t>(std::stoi(row.completion));
  if (tokens == 0) return error{errc::too_large, "has 900 tokens, the most is 512"};
  engine::training_sample s;
  s.tokens.assign(tokens, static_cast<std::int32_t>(row.number));
  return s;
}

std::vector<store::site_row> rows(std::vector<int> tokens, std::int64_t first = 1) {
  std::vector<store::site_row> out;
  for (const int t : tokens) out.push_back({.number = first++, .completion = std::to_string(t)});
  return out;
}

std::vector<std::int32_t> numbers(const std::vector<engine::training_sample>& batch) {
  std::vector<std::int32_t> out;
  for (const auto& s : batch) out.push_back(s.tokens.front());
  return out;
}

TEST(batch_source, fills_batches_in_order_and_never_beyond_their_tokens) {
  batch_source source("assistant", 10, encoded);
  EXPECT_EQ(source.want().key, "assistant/epoch 0");
  EXPECT_FALSE(source.ready());
  ASSERT_TRUE(source.give(rows({4, 5, 3, 10, 2})));
  ASSERT_TRUE(source.ready());
  EXPECT_THAT(numbers(source.take()), ElementsAre(1, 2));
  EXPECT_EQ(source.cursor(), (data_cursor{0, 2}));
  EXPECT_THAT(numbers(source.take()), ElementsAre(3));
  EXPECT_THAT(numbers(source.take()), ElementsAre(4));
  EXPECT_FALSE(source.ready()) << "2 tokens make no batch while more may come";
  EXPECT_EQ(source.want().key, "assistant/epoch 1") << "fewer rows than asked: the epoch ended";
}

TEST(batch_source, goes_on_from_its_cursor) {
  batch_source source("assistant", 6, encoded);
  source.seek({2, 5});
  EXPECT_EQ(source.want().key, "assistant/epoch 2");
  EXPECT_EQ(source.want().first, 5u);
  ASSERT_TRUE(source.give(rows({3, 3}, 6)));
  EXPECT_EQ(source.cursor(), (data_cursor{2, 5}));
}

TEST(batch_source, says_why_a_whole_epoch_has_nothing_to_train_on) {
  batch_source source("assistant", 10, encoded);
  const auto none = source.give({});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.failure().message, "no sample to train on");
  batch_source long_ones("assistant", 10, encoded);
  const auto all_long = long_ones.give(rows({0, 0}));
  ASSERT_FALSE(all_long);
  EXPECT_EQ(all_long.failure().code, errc::not_found);
  EXPECT_THAT(all_long.failure().message, HasSubstr("has 900 tokens, the most is 512"));
}

TEST(batch_source, passes_over_a_sample_larger_than_a_batch) {
  batch_source source("assistant", 10, encoded);
  ASSERT_TRUE(source.give(rows({11, 6, 6})));
  EXPECT_THAT(numbers(source.take()), ElementsAre(2));
}

TEST(shadow_task, reads_its_own_note_and_refuses_others) {
  const shadow_task t{
      .round = 7, .attempt = 2, .step = 5, .tokens = 123456789012, .cursor = {3, 40}};
  const auto read = task_of_note(to_note(t));
  ASSERT_TRUE(read) << read.failure().message;
  EXPECT_EQ(*read, t);
  for (const char* wrong : {"", "1 2 3", "7 2 5 x 3 40", "7 2 5 -1 3 40"})
    EXPECT_FALSE(task_of_note(wrong)) << wrong;
}

TEST(shadow_task, tells_the_change_of_the_trained_factors_alone) {
  const std::vector<float> a = {1, 2}, b = {3, 4, 5};
  const std::vector<engine::factor> after = {
      {.name = "A", .rows = 1, .columns = 2, .is_b = false, .values = a},
      {.name = "B", .rows = 3, .columns = 1, .is_b = true, .values = b}};
  const std::vector<float> before = {0.5f, 2, 3, 3, 3};
  using engine::trained_factors;
  EXPECT_THAT(values_of(after), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(change_of(after, before, trained_factors::both), ElementsAre(0.5f, 0, 0, 1, 2));
  EXPECT_THAT(change_of(after, before, trained_factors::a_only), ElementsAre(0.5f, 0));
  EXPECT_THAT(change_of(after, before, trained_factors::b_only), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace collm::actors
