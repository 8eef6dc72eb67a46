// The largest rate that keeps its promises, of machines whose attainment is a formula.
#include <gmock/gmock.h>

#include <algorithm>

#include "deploy/capacity_search.hpp"

namespace collm::deploy {
namespace {

using ::testing::HasSubstr;

constexpr capacity_range range{.floor_per_s = 0.6, .ceiling_per_s = 9};

/// Keeps 95 % of its promises up to some rate, half of them above it.
auto breaks_above(double per_s, std::uint32_t* asked = nullptr) {
  return [=](double rate) -> result<capacity_trial> {
    if (asked != nullptr) ++*asked;
    return capacity_trial{rate, 30, rate <= per_s ? 0.95 : 0.5};
  };
}

TEST(capacity_search, finds_the_largest_rate_to_a_tenth) {
  for (const double truth : {0.7, 1.0, 2.5, 5.0, 8.0}) {
    const auto found = find_capacity(range, breaks_above(truth));
    ASSERT_TRUE(found) << found.failure().message;
    EXPECT_LE(found->per_s, truth);
    EXPECT_GT(found->per_s, truth / 1.1);
  }
}

TEST(capacity_search, answers_with_a_rate_that_was_tried_and_kept) {
  const auto found = find_capacity(range, breaks_above(2.5));
  ASSERT_EQ(found->trials.size(), range.trials);
  const auto is_it = [&](const auto& t) { return t.per_s == found->per_s && t.attainment >= 0.9; };
  EXPECT_EQ(std::count_if(found->trials.begin(), found->trials.end(), is_it), 1);
}

TEST(capacity_search, exactly_the_attainment_asked_for_is_kept) {
  const auto found = find_capacity(range, [](double rate) -> result<capacity_trial> {
    return capacity_trial{rate, 30, rate < 3 ? 0.9 : 0.89};
  });
  ASSERT_TRUE(found);
  EXPECT_GT(found->per_s, 3 / 1.1);
}

TEST(capacity_search, tries_the_floor_itself_before_it_is_an_answer) {
  std::uint32_t asked = 0;
  const auto found = find_capacity(range, breaks_above(0.6, &asked));
  ASSERT_TRUE(found) << found.failure().message;
  EXPECT_EQ(found->per_s, 0.6);
  EXPECT_EQ(asked, range.trials + 1);
}

TEST(capacity_search, a_floor_that_breaks_its_promises_is_an_error_with_all_trials) {
  const auto found = find_capacity(range, breaks_above(0.5));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.failure().code, errc::conflict);
  EXPECT_THAT(found.failure().message, HasSubstr("not even 0.60 requests/s keep 90 %"));
  EXPECT_THAT(found.failure().message, HasSubstr("2.32/s 50 % of 30"));
  EXPECT_THAT(found.failure().message, HasSubstr("0.60/s 50 % of 30)"));
}

TEST(capacity_search, a_ceiling_that_nothing_reaches_is_an_error) {
  const auto found = find_capacity(range, breaks_above(20));
  ASSERT_FALSE(found);
  EXPECT_THAT(found.failure().message, HasSubstr("lies above 8."));
}

TEST(capacity_search, an_error_of_a_trial_ends_it) {
  std::uint32_t asked = 0;
  const auto found = find_capacity(range, [&](double) -> result<capacity_trial> {
    ++asked;
    return error{errc::timeout, "requests did not end"};
  });
  ASSERT_FALSE(found);
  EXPECT_EQ(found.failure().code, errc::timeout);
  EXPECT_EQ(asked, 1u);
}

}  // namespace
}  // namespace collm::deploy
