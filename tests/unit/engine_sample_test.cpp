// The sampler against a naive twin, known vectors of Philox, fixed seeds, and the edges of every
// rule.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/sample/counter_rng.hpp"
#include "engine/sample/sampler.hpp"

namespace collm::engine {
namespace {

using words = std::array<std::uint32_t, 4>;

// Random123's known answers for philox4x32-10.
TEST(counter_rng, gives_the_published_numbers) {
  constexpr std::uint32_t ones = 0xffffffffu;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}),
            (words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(counter_rng, is_uniform_and_below_one) {
  std::array<int, 16> bins{};
  for (std::uint64_t i = 0; i < 16000; ++i) {
    const double u = uniform(7, random_stream::sample, i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<std::size_t>(u * 16)];
  }
  double chi_square = 0;
  for (const int n : bins) chi_square += (n - 1000.0) * (n - 1000.0) / 1000.0;
  EXPECT_LT(chi_square, 37.7);  // 15 degrees of freedom, p = 0.001; the seed is fixed
}

TEST(counter_rng, streams_and_seeds_do_not_share_numbers) {
  const double here = uniform(1, random_stream::sample, 5);
  EXPECT_NE(here, uniform(1, random_stream::initial_weights, 5));
  EXPECT_NE(here, uniform(2, random_stream::sample, 5));
  EXPECT_NE(here, uniform(1, random_stream::sample, 6));
  EXPECT_EQ(here, uniform(1, random_stream::sample, 5));
}

/// Every rule in its textbook form, over the whole vocabulary, in double.
class naive_twin {
 public:
  static std::vector<double> probabilities(std::vector<float> logits, const sampling& how,
                                           const token_history& history) {
    for (const auto& [token, uses] : history.seen())
      penalise(logits[static_cast<std::size_t>(token)], uses, how);
    for (float& x : logits) x /= how.temperature;
    std::vector<double> p = softmax(logits);
    const std::vector<std::size_t> order = best_first(logits);
    if (how.top_k > 0)
      for (std::size_t i = static_cast<std::size_t>(how.top_k); i < p.size(); ++i) p[order[i]] = 0;
    normalise(p);
    double before = 0;
    for (const std::size_t i : order) {
      const double own = p[i];
      if (before >= static_cast<double>(how.top_p)) p[i] = 0;
      before += own;
    }
    normalise(p);
    const double most = p[order[0]];
    for (double& x : p)
      if (x < static_cast<double>(how.min_p) * most) x = 0;
    normalise(p);
    return p;
  }

 private:
  static void penalise(float& x, const token_history::uses& uses, const sampling& how) {
    x = x > 0 ? x / how.repetition_penalty : x * how.repetition_penalty;
    if (uses.in_answer > 0)
      x -= how.presence_penalty + how.frequency_penalty * static_cast<float>(uses.in_answer);
  }
  static std::vector<double> softmax(const std::vector<float>& logits) {
    const double most = *std::max_element(logits.begin(), logits.end());
    std::vector<double> p;
    for (const float x : logits) p.push_back(std::exp(static_cast<double>(x) - most));
    normalise(p);
    return p;
  }
  static std::vector<std::size_t> best_first(const std::vector<float>& logits) {
    std::vector<std::size_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::stable_sort(order,
                             [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
    return order;
  }
  static void normalise(std::vector<double>& p) {
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= sum;
  }
};

std::vector<float> random_logits(std::uint64_t seed, std::size_t count) {
  std::vector<float> logits(count);
  for (std::size_t i = 0; i < count; ++i)
    logits[i] = static_cast<float>(8 * uniform(seed, random_stream::initial_weights, i) - 4);
  return logits;
}

token_history some_history() {
  token_history history;
  for (const std::int32_t t : {3, 5, 5, 40}) history.add_prompt(t);
  for (const std::int32_t t : {5, 7, 7, 7}) history.add_answer(t);
  return history;
}

struct rule {
  const char* name;
  sampling how;
};

class sampling_rule : public ::testing::TestWithParam<rule> {};

// 20,000 draws with fixed seeds against the twin's probabilities; and nothing outside its support.
TEST_P(sampling_rule, draws_as_the_naive_twin_says) {
  const auto logits = random_logits(11, 60);
  const token_history history = some_history();
  sampling how = GetParam().how;
  const auto expected = naive_twin::probabilities(logits, how, history);
  std::vector<int> counts(logits.size(), 0);
  constexpr int draws = 20000;
  sampler tool;
  for (int i = 0; i < draws; ++i) {
    how.seed = 77;
    const auto chosen = tool.choose(logits, how, history, static_cast<std::uint64_t>(i));
    ASSERT_TRUE(chosen);
    ++counts[static_cast<std::size_t>(chosen->token)];
  }
  double chi_square = 0;
  int bins = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    const double mean = expected[i] * draws;
    chi_square += (counts[i] - mean) * (counts[i] - mean) / mean;
    ++bins;
  }
  // Wilson and Hilferty's quantile, p = 0.001.
  const double freedom = std::max(1, bins - 1), third = 2 / (9 * freedom);
  EXPECT_LT(chi_square, freedom * std::pow(1 - third + 3.09 * std::sqrt(third), 3))
      << bins << " tokens";
}

INSTANTIATE_TEST_SUITE_P(
    of, sampling_rule,
    ::testing::Values(
        rule{"temperature", {.temperature = 0.7f}}, rule{"hot", {.temperature = 2.5f}},
        rule{"top_k", {.temperature = 1.0f, .top_k = 7}},
        rule{"top_k_of_more_than_all", {.temperature = 1.0f, .top_k = 1000}},
        rule{"top_p", {.temperature = 1.0f, .top_p = 0.6f}},
        rule{"min_p_before_top_p", {.temperature = 1.0f, .top_p = 0.95f, .min_p = 0.3f}},
        rule{"top_p_before_min_p", {.temperature = 1.0f, .top_p = 0.3f, .min_p = 0.01f}},
        rule{"top_p_and_a_min_p_of_minus_nothing",
             {.temperature = 1.0f, .top_p = 0.95f, .min_p = -0.0f}},
        rule{"min_p", {.temperature = 1.5f, .min_p = 0.2f}},
        rule{"all_three", {.temperature = 1.2f, .top_k = 20, .top_p = 0.8f, .min_p = 0.1f}},
        rule{"penalties",
             {.temperature = 1.0f,
              .repetition_penalty = 1.4f,
              .presence_penalty = 0.5f,
              .frequency_penalty = 0.3f}}),
    [](const auto& info) { return std::string(info.param.name); });

// The same number draws the same token as a walk down the whole sorted row would.
TEST(sampler, top_p_draws_from_a_large_vocabulary_as_a_sorted_row_does) {
  const auto logits = random_logits(5, 20'000);
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, std::ranges::greater{}, [&](std::int32_t t) { return logits[t]; });
  std::vector<double> reached;
  double total = 0;
  for (const auto t : order)
    reached.push_back(total += std::exp(static_cast<double>(logits[t]) - logits[order[0]]));
  sampler tool;
  for (const float p : {0.1f, 0.5f, 0.9f, 0.999f}) {
    const auto wanted = static_cast<double>(p) * total;
    const double kept = *std::ranges::lower_bound(reached, wanted);
    for (std::uint64_t i = 0; i < 200; ++i) {
      const auto chosen = tool.choose(logits, {.temperature = 1.0f, .top_p = p, .seed = 9}, {}, i);
      const double target = uniform(9, random_stream::sample, i) * kept;
      const auto at = std::ranges::upper_bound(reached, target) - reached.begin();
      // Float weights beside the twin's: a neighbour at most.
      EXPECT_NEAR(logits[static_cast<std::size_t>(chosen->token)], logits[order[at]], 0.003)
          << p << " " << i;
    }
  }
}

TEST(sampler, top_p_of_a_large_flat_vocabulary_keeps_its_share) {
  const std::vector<float> flat(5000, 1.0f);
  sampler tool;
  std::int32_t largest = 0;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const auto chosen = tool.choose(flat, {.temperature = 1.0f, .top_p = 0.5f}, {}, i);
    largest = std::max(largest, chosen->token);
  }
  EXPECT_LE(largest, 2500);  // ties: smaller ids first, so the kept half is 0..2499 and the one
                             // that reaches the half
  EXPECT_GT(largest, 2450);
}

TEST(sampler, greedy_takes_the_smaller_id_of_a_tie) {
  sampler tool;
  EXPECT_EQ(tool.choose(std::vector<float>{1, 5, 2, 5, 5}, {}, {}, 0)->token, 1);
  EXPECT_EQ(tool.choose(std::vector<float>{-1, -1}, {}, {}, 0)->token, 0);
}

TEST(sampler, greedy_obeys_penalties) {
  token_history history;
  history.add_answer(1);
  sampler tool;
  const std::vector<float> logits = {4, 5, 2};
  EXPECT_EQ(tool.choose(logits, {.presence_penalty = 2.0f}, history, 0)->token, 0);
  EXPECT_EQ(tool.choose(logits, {.presence_penalty = -2.0f}, history, 0)->token, 1);
  EXPECT_EQ(tool.choose(logits, {.repetition_penalty = 2.0f}, history, 0)->token, 0);
}

TEST(sampler, presence_penalty_spares_the_prompt_but_repetition_penalty_does_not) {
  token_history history;
  history.add_prompt(1);
  sampler tool;
  const std::vector<float> logits = {4, 5, 2};
  EXPECT_EQ(tool.choose(logits, {.presence_penalty = 2.0f}, history, 0)->token, 1);
  EXPECT_EQ(tool.choose(logits, {.repetition_penalty = 2.0f}, history, 0)->token, 0);
}

TEST(sampler, logprobs_are_of_the_raw_softmax) {
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, 3.0f};
  token_history history;
  history.add_answer(1);
  sampler tool;
  const auto chosen = tool.choose(
      logits, {.temperature = 0.5f, .top_k = 1, .presence_penalty = 10.0f, .logprobs = 3}, history,
      0);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->token, 3);
  const double normaliser = std::log(std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0));
  EXPECT_NEAR(chosen->logprob, 3.0 - normaliser, 1e-6);
  ASSERT_EQ(chosen->top.size(), 3u);
  EXPECT_EQ(chosen->top[0].token, 1);
  EXPECT_EQ(chosen->top[1].token, 3);
  EXPECT_EQ(chosen->top[2].token, 2);
  EXPECT_NEAR(chosen->top[2].logprob, 2.0 - normaliser, 1e-6);
}

TEST(sampler, gives_no_more_alternatives_than_tokens_and_none_unasked) {
  sampler tool;
  EXPECT_EQ(tool.choose(std::vector<float>{1, 2}, {.logprobs = 20}, {}, 0)->top.size(), 2u);
  EXPECT_EQ(tool.choose(std::vector<float>{1, 2}, {.logprobs = 0}, {}, 0)->top.size(), 0u);
  EXPECT_EQ(tool.choose(std::vector<float>{1, 2}, {}, {}, 0)->logprob, 0.0f);
}

TEST(sampler, same_logits_give_the_same_bytes_whatever_it_did_before) {
  const auto logits = random_logits(5, 3000);
  const sampling how = {.temperature = 1.1f, .top_p = 0.95f, .seed = 4, .logprobs = 5};
  sampler fresh, used;
  for (std::uint64_t i = 0; i < 20; ++i)
    ASSERT_TRUE(
        used.choose(random_logits(i, 100 + 37 * i), {.temperature = 2.0f, .logprobs = 2}, {}, i));
  const auto a = fresh.choose(logits, how, {}, 9), b = used.choose(logits, how, {}, 9);
  EXPECT_EQ(a->token, b->token);
  EXPECT_EQ(a->logprob, b->logprob);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(a->top[i].logprob, b->top[i].logprob);
}

TEST(sampler, refuses_logits_that_are_not_numbers) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(),
                  infinity = std::numeric_limits<float>::infinity();
  sampler tool;
  for (const auto& broken :
       {std::vector<float>{1, nan, 2}, {1, 2, infinity}, {nan}, {-infinity, -infinity}}) {
    const auto chosen = tool.choose(broken, {}, {}, 0);
    ASSERT_FALSE(chosen);
    EXPECT_EQ(chosen.failure().code, errc::internal);
  }
  EXPECT_EQ(tool.choose(std::vector<float>{-infinity, 1}, {.temperature = 1.0f}, {}, 0)->token, 1);
}

TEST(sampler, a_tiny_temperature_is_greedy) {
  sampler tool;
  EXPECT_EQ(tool.choose(std::vector<float>{1, 9, 2}, {.temperature = 1e-44f}, {}, 0)->token, 1);
}

TEST(sampling_check, names_the_field_and_its_range) {
  const std::vector<std::pair<sampling, std::string>> wrong = {
      {{.temperature = -1.0f}, "temperature"},
      {{.temperature = std::numeric_limits<float>::quiet_NaN()}, "temperature"},
      {{.top_k = -1}, "top_k"},
      {{.top_p = 0.0f}, "top_p"},
      {{.top_p = 1.1f}, "top_p"},
      {{.min_p = -0.1f}, "min_p"},
      {{.repetition_penalty = 0.0f}, "repetition_penalty"},
      {{.presence_penalty = std::numeric_limits<float>::infinity()}, "presence_penalty"},
      {{.frequency_penalty = std::numeric_limits<float>::quiet_NaN()}, "frequency_penalty"},
      {{.logprobs = -2}, "logprobs"}};
  for (const auto& [how, field] : wrong) {
    const auto ok = check(how);
    ASSERT_FALSE(ok) << field;
    EXPECT_EQ(ok.failure().code, errc::bad_request);
    EXPECT_TRUE(ok.failure().message.starts_with(field)) << ok.failure().message;
  }
  EXPECT_TRUE(check({}));
}

}  // namespace
}  // namespace collm::engine
