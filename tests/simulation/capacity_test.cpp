// P8 on virtual time: production actors over an executor whose steps take what a small machine's
// take. Capacity is measured first, then requests arrive at three times of it: those that are let
// in keep their promises, the others are told when to come back, and nothing grows.
#include <gtest/gtest.h>

#include "tests/support/serving_rig.hpp"
#include "tests/support/small_machine.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using testing_support::mix;
using testing_support::mixed;
using testing_support::ms;
using testing_support::numbers;
using testing_support::reading;
using testing_support::seen_answer;
using testing_support::serving_rig;
using testing_support::small_machine;
using testing_support::writing;

constexpr double ttft_ms = 2000, tpot_ms = 120;  // the rig's promises

struct told {
  std::uint32_t admitted = 0, on_time = 0, refused = 0, unfinished = 0, advised = 0, late_ttft = 0,
                late_tpot = 0;
};

class load {
 public:
  load(mix lengths, std::uint64_t seed) : load(lengths, seed, small_machine(seed + 1'000'000)) {}
  load(mix lengths, std::uint64_t seed, testing_support::step_time steps)
      : lengths_(lengths), draw_(seed), rig_({.blocks = 730, .step_time = std::move(steps)}) {}

  /// Always `width` requests in flight: what the machine can do. Requests a second.
  double saturate(std::chrono::seconds time) {
    const auto begun = rig_.system.now();
    std::uint64_t ended_before = ended();
    while (rig_.system.now() - begun < time) {
      while (rig_.in_flight < width_) send_any({});
      rig_.system.pass(20ms);
    }
    const double seconds = ms(rig_.system.now() - begun) / 1000;
    const double rate = static_cast<double>(ended() - ended_before) / seconds;
    drain();
    return rate;
  }

  /// Poisson arrivals whatever becomes of them, timed from when they are due.
  told open_loop(double per_s, std::chrono::seconds time) {
    std::vector<request_id> sent;
    auto due = rig_.system.now();
    const auto end = due + time;
    while (due < end) {
      due += std::chrono::microseconds(std::llround(draw_.exponential(1e6 / per_s)));
      if (due > rig_.system.now()) {
        rig_.system.pass(std::chrono::ceil<std::chrono::milliseconds>(due - rig_.system.now()));
      }
      sent.push_back(
          send_any(std::chrono::duration_cast<std::chrono::microseconds>(rig_.system.now() - due)));
      in_flight_most_ = std::max(in_flight_most_, rig_.in_flight);
    }
    drain();
    told out;
    for (const auto id : sent) count(rig_.answers[id], out);
    return out;
  }

  std::uint32_t in_flight_most() const { return in_flight_most_; }
  serving_rig& rig() { return rig_; }

  request_id send(std::uint32_t prompt_tokens, std::uint32_t answer,
                  std::chrono::microseconds age = {}) {
    std::vector<std::uint32_t> prompt(prompt_tokens);
    for (auto& t : prompt) t = draw_.between(0, 999);
    return rig_.send("assistant", std::move(prompt), answer, 1u << 30, 1, age);
  }

 private:
  request_id send_any(std::chrono::microseconds age) {
    const auto prompt = draw_.between(lengths_.prompt_min, lengths_.prompt_max);
    return send(prompt, draw_.between(lengths_.answer_min, lengths_.answer_max), age);
  }

  void drain() {
    for (int i = 0; i < 600 && rig_.in_flight > 0; ++i) rig_.system.pass(100ms);
  }

  std::uint64_t ended() const {
    return static_cast<std::uint64_t>(
        std::count_if(rig_.answers.begin(), rig_.answers.end(),
                      [](const auto& a) { return a.second.finished == 1; }));
  }

  static void count(const seen_answer& a, told& out) {
    if (a.rejected == 1) {
      ++out.refused;
      const bool advised =
          a.code == "overloaded" && a.retry_after_ms >= 1000 && a.retry_after_ms <= 60000;
      out.advised += advised ? 1 : 0;
      return;
    }
    ++out.admitted;
    if (a.finished != 1 || a.tokens.empty()) {
      ++out.unfinished;
      return;
    }
    const double ttft = ms(a.first - a.arrived);
    const double gaps = static_cast<double>(a.tokens.size()) - 1;
    const double tpot = gaps > 0 ? ms(a.last - a.first) / gaps : 0;
    out.late_ttft += ttft > ttft_ms ? 1 : 0;
    out.late_tpot += tpot > tpot_ms ? 1 : 0;
    out.on_time += ttft <= ttft_ms && tpot <= tpot_ms ? 1 : 0;
  }

  static constexpr std::uint32_t width_ = 24;
  mix lengths_;
  numbers draw_;
  serving_rig rig_;
  std::uint32_t in_flight_most_ = 0;
};

class overload : public testing::TestWithParam<std::tuple<mix, std::uint64_t>> {};

TEST_P(overload, p8_at_three_times_capacity_the_admitted_keep_their_promises) {
  const auto& [lengths, seed] = GetParam();
  load l(lengths, seed);
  const double capacity = l.saturate(60s);
  ASSERT_GT(capacity, 0.2);
  const auto seen = l.open_loop(3 * capacity, 240s);
  const double share = double(seen.on_time) / std::max(1u, seen.admitted);
  const double served = seen.on_time / 240.0;
  SCOPED_TRACE("capacity " + std::to_string(capacity) + "/s, admitted " +
               std::to_string(seen.admitted) + ", on time " + std::to_string(share) +
               ", late first token " + std::to_string(seen.late_ttft) + ", late tokens " +
               std::to_string(seen.late_tpot) + ", refused " + std::to_string(seen.refused));
  RecordProperty("capacity_per_s", std::to_string(capacity));
  RecordProperty("on_time_share", std::to_string(share));
  RecordProperty("served_of_capacity", std::to_string(served / capacity));
  EXPECT_GE(share, 0.95);
  EXPECT_EQ(seen.unfinished, 0u);
  EXPECT_GE(served, 0.7 * capacity) << "shedding must not starve what could be served";
  EXPECT_GT(seen.refused, seen.admitted / 2);
  EXPECT_EQ(seen.advised, seen.refused) << "every refusal says when to come back";
  EXPECT_LE(l.in_flight_most(), 64u) << "nothing piles up";
  EXPECT_EQ(l.rig().executor->cache().blocks_free, l.rig().executor->cache().blocks_total);
}

INSTANTIATE_TEST_SUITE_P(loads, overload,
                         testing::Combine(testing::Values(mixed, reading, writing),
                                          testing::Values(1, 2)),
                         [](const auto& made) {
                           return std::string(std::get<0>(made.param).name) + "_" +
                                  std::to_string(std::get<1>(made.param));
                         });

TEST(below_capacity, few_are_refused_and_promises_hold) {
  load l(mixed, 9);
  const double capacity = l.saturate(60s);
  const auto seen = l.open_loop(0.5 * capacity, 120s);
  EXPECT_GE(seen.on_time, 0.97 * seen.admitted);
  EXPECT_LE(seen.refused, 0.1 * (seen.admitted + seen.refused)) << "bursts of arrivals at most";
}

// Beside them alone, each step as long as their promise allows, it would take longer than its own.
TEST(below_capacity, a_prompt_may_take_the_time_that_decodes_are_ahead) {
  load l(mixed, 5, testing_support::slow_machine(5));
  l.saturate(120s);
  std::vector<request_id> beside;
  for (int i = 0; i < 8; ++i) beside.push_back(l.send(8, 200));
  l.rig().system.pass(4s);
  for (const auto id : beside) ASSERT_EQ(l.rig().answers[id].message, "");
  const auto& asked = l.rig().answers[l.send(170, 4)];
  for (int i = 0; i < 1000 && !asked.ended; ++i) l.rig().system.pass(20ms);
  ASSERT_EQ(asked.rejected, 0u) << asked.message;
  ASSERT_EQ(asked.tokens.size(), 4u);
  EXPECT_LE(ms(asked.first - asked.arrived), ttft_ms);
}

}  // namespace
}  // namespace collm
