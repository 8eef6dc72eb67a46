#include "coordinator/admission.hpp"

#include <gtest/gtest.h>

namespace collm::coordinator {
namespace {

constexpr replica_load busy{.queued = 3,
                            .backlog_tokens = 1200,
                            .prefill_tokens_per_ms = 1.5,
                            .iteration_ms = 60,
                            .admitted_tokens_per_s = 900};

TEST(admission, predicts_backlog_plus_prompt_plus_one_iteration) {
  EXPECT_DOUBLE_EQ(predicted_ttft_ms(busy, 300), 1500 / 1.5 + 60);
}

TEST(admission, retry_after_comes_from_the_drain_rate) {
  // 1500 tokens/s of which 900 are taken; 1.6 s over the promise: 1500 * 1.6 / 600 = 4 s.
  EXPECT_EQ(retry_after_ms(busy, 2600, 1000, 0), 4000u);
  EXPECT_EQ(retry_after_ms(busy, 2600, 1000, 0.5), 5000u);
}

TEST(admission, retry_after_stays_between_one_second_and_a_minute) {
  auto saturated = busy;
  saturated.admitted_tokens_per_s = 1490;
  EXPECT_EQ(retry_after_ms(saturated, 2600, 1000, 0), 60000u);
  EXPECT_EQ(retry_after_ms(busy, 900, 1000, 0), 1000u);
}

TEST(admission, admits_while_the_promise_can_be_kept) {
  EXPECT_TRUE(admit(busy, 300, 1500, 256, 0).admit);
  const auto late = admit(busy, 300, 1000, 256, 0);
  EXPECT_FALSE(late.admit);
  EXPECT_GT(late.retry_after_ms, 0u);
}

TEST(admission, queue_limit_holds_at_the_limit_and_one_below) {
  auto full = busy;
  full.backlog_tokens = 0;
  full.queued = 255;
  EXPECT_TRUE(admit(full, 10, 1500, 256, 0).admit);
  full.queued = 256;
  EXPECT_FALSE(admit(full, 10, 1500, 256, 0).admit);
}

TEST(admission, an_idle_replica_takes_a_prompt_that_is_too_long_to_be_on_time) {
  auto idle = busy;
  idle.backlog_tokens = 0;
  EXPECT_TRUE(
      admit(idle, 4096, 1000, 256, 0).admit);  // nobody else is held up; late is better than never
}

TEST(admission, a_long_prompt_waits_behind_little_but_not_behind_much) {
  auto load = busy;
  load.backlog_tokens = 600;  // 400 ms
  EXPECT_TRUE(admit(load, 4096, 1000, 256, 0).admit);
  load.backlog_tokens = 900;  // 600 ms, over half the promise
  EXPECT_FALSE(admit(load, 4096, 1000, 256, 0).admit);
}

TEST(admission, unknown_rate_admits) {
  EXPECT_TRUE(admit({.queued = 1, .backlog_tokens = 100000}, 4096, 100, 256, 0).admit);
}

TEST(admission, hash01_is_uniform_and_stable) {
  double sum = 0;
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const double h = hash01(i);
    ASSERT_GE(h, 0);
    ASSERT_LT(h, 1);
    sum += h;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
  EXPECT_EQ(hash01(42), hash01(42));
}

}  // namespace
}  // namespace collm::coordinator
