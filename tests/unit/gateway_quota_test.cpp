#include "gateway/quota.hpp"

#include <gtest/gtest.h>

namespace collm::gateway {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const quota_clock::time_point start = quota_clock::time_point{} + std::chrono::hours(1);

TEST(token_bucket, is_full_at_first_and_refills_at_its_rate_up_to_its_most) {
  token_bucket b(2, 10);
  EXPECT_EQ(b.left(start), 10);
  b.charge(10, start);
  EXPECT_EQ(b.wait_ms(1, start), 500);
  EXPECT_EQ(b.wait_ms(1, start + milliseconds(499)), 1);
  EXPECT_EQ(b.wait_ms(1, start + milliseconds(500)), 0);
  EXPECT_EQ(b.left(start + seconds(100)), 10);
}

TEST(token_bucket, what_was_overdrawn_is_paid_back_first) {
  token_bucket b(100, 100);
  b.charge(1100, start);
  EXPECT_EQ(b.left(start), -1000);
  EXPECT_EQ(b.wait_ms(1, start), 10'010);
  EXPECT_EQ(b.wait_ms(1, start + milliseconds(10'010)), 0);
}

TEST(token_bucket, a_clock_that_goes_back_gives_nothing_and_takes_nothing) {
  token_bucket b(1, 2);
  b.charge(2, start);
  EXPECT_EQ(b.left(start - seconds(100)), 0);
  EXPECT_EQ(b.left(start + seconds(1)), 1);
}

TEST(token_bucket, without_a_rate_has_no_bound) {
  token_bucket b;
  b.charge(1e12, start);
  EXPECT_FALSE(b.bounded());
  EXPECT_EQ(b.wait_ms(1e12, start), 0);
}

TEST(open_requests, expects_the_next_end_by_how_long_the_last_ones_took) {
  open_requests open;
  EXPECT_EQ(open.next_end_ms(), 1000) << "none has ended";
  for (int i = 0; i < 4; ++i) open.enter();
  open.leave(seconds(6));
  EXPECT_EQ(open.open(), 3u);
  EXPECT_DOUBLE_EQ(open.next_end_ms(), 2000);
  open.leave(seconds(1));
  EXPECT_DOUBLE_EQ(open.next_end_ms(), 2500) << "a fifth of the way from 6 s to 1 s, of two";
}

TEST(wrong_keys, wait_after_ten_and_one_a_second_may_follow) {
  wrong_keys w;
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(w.wait_ms("10.0.0.1", start), 0) << i;
    w.note("10.0.0.1", start);
  }
  EXPECT_EQ(w.wait_ms("10.0.0.1", start), 1000);
  EXPECT_EQ(w.wait_ms("10.0.0.2", start), 0) << "another address has sent none";
  EXPECT_EQ(w.wait_ms("10.0.0.1", start + seconds(1)), 0);
  w.note("10.0.0.1", start + seconds(1));
  EXPECT_EQ(w.wait_ms("10.0.0.1", start + seconds(1)), 1000);
}

TEST(wrong_keys, a_crowd_of_addresses_makes_it_forget_who_sent_the_fewest) {
  wrong_keys w;
  for (int i = 0; i < 10; ++i) w.note("worst", start);
  for (std::size_t i = 0; i < 2 * wrong_keys::addresses_max; ++i)
    w.note("10.0." + std::to_string(i), start);
  EXPECT_EQ(w.wait_ms("worst", start), 1000);
}

}  // namespace
}  // namespace collm::gateway
