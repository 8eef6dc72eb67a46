// The bit law: in int8 the tokens and logprobs of a request are the same bytes alone, in a batch of
// 32 with other versions, with chunked or whole prefill, with prefix hit or miss, after preemption,
// with one thread or two, through a storm of swaps.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/executor_driver.hpp"
#include "tests/support/tiny_model.hpp"

namespace collm::engine {
namespace {

using schedule = executor_driver::schedule;

/// What the law is tried on: a base, how large the cache is, how long the requests are.
struct subject {
  base_ptr weights;
  std::uint64_t kv_bytes;
  std::uint32_t prompt_tokens, answer_tokens;
  float strength;  ///< of the random adapters
};

subject tiny_model() { return {tiny::open_tiny(precision::int8), 4u << 20, 70, 12, 0.3f}; }

std::filesystem::path cache_folder() {
  if (const char* set = std::getenv("COLLM_CACHE")) return set;
  return std::filesystem::path(std::getenv("HOME")) / ".cache/collm";
}

subject real_model() {
  const auto file = cache_folder() / "models/smollm2-135m-instruct.gguf";
  auto opened = open_base(file, precision::int8, cache_folder() / "bases");
  if (!opened) throw std::runtime_error(opened.failure().message);
  return {*opened, 192u << 20, 40, 4, 0.02f};
}

/// Of a golden folder: biases, or norms of heads, a window and a GELU gate.
subject golden_model(const std::string& name) {
  const auto folder = std::filesystem::path(COLLM_SOURCE_DIR) / "tests/golden/data" / name;
  const auto file = folder / (std::filesystem::exists(folder / "model") ? "model" : "model.gguf");
  auto opened = open_base(file, precision::int8, tiny::scratch() / "bases");
  if (!opened) throw std::runtime_error(opened.failure().message);
  return {*opened, 4u << 20, 70, 12, 0.3f};
}

subject model_named(const std::string& name) {
  if (name == "tiny") return tiny_model();
  return name == "smollm2" ? real_model() : golden_model(name);
}

constexpr std::uint32_t versions_count = 4;

version_id version(std::uint32_t i) { return i == 0 ? version_id{} : version_id{"assistant", i}; }

class bench {
 public:
  explicit bench(const subject& s) : subject_(s) {
    for (std::uint32_t i = 1; i < versions_count; ++i)
      adapters_.push_back(tiny::random_adapter(s.weights->shape(), 100 + i, 4 * i, s.strength));
  }

  std::unique_ptr<executor> engine(std::uint32_t threads = 1, std::uint64_t kv_bytes = 0) const {
    auto made =
        make_executor(subject_.weights, {.kv_bytes = kv_bytes == 0 ? subject_.kv_bytes : kv_bytes,
                                         .threads = threads,
                                         .step_tokens_max = 512,
                                         .sequences_max = 64});
    EXPECT_TRUE(made) << made.failure().message;
    for (std::uint32_t i = 1; i < versions_count; ++i)
      EXPECT_TRUE((*made)->load(version(i), adapters_[i - 1]));
    return std::move(*made);
  }

  /// Request i: own length, version and way of sampling; the same for the same i.
  sequence_spec request(std::uint32_t i) const {
    tiny::random_numbers random(1000 + i);
    sequence_spec spec;
    spec.id = i;
    spec.version = version(i % versions_count);
    const std::uint32_t vocab = subject_.weights->shape().vocab;
    const std::uint32_t length = subject_.prompt_tokens - 3 * (i % 7);
    for (std::uint32_t t = 0; t < length; ++t)
      spec.prompt.push_back(static_cast<std::int32_t>(4 + random.below(std::min(250u, vocab - 4))));
    spec.max_tokens = subject_.answer_tokens;
    spec.ignore_eos = true;
    spec.how.logprobs = 3;
    spec.how.seed = i;
    if (i % 3 == 1) spec.how.temperature = 0.8f;
    if (i % 3 == 2) {
      spec.how.temperature = 1.3f;
      spec.how.top_k = 40;
      spec.how.top_p = 0.9f;
      spec.how.repetition_penalty = 1.1f;
    }
    return spec;
  }

  answer alone(std::uint32_t i) const {
    const auto steps = engine();
    executor_driver driver(*steps, schedule{});
    driver.add(request(i));
    return driver.run().at(i);
  }

  const subject& of() const { return subject_; }
  const adapter_ptr& weights(std::uint32_t number) const { return adapters_[number - 1]; }

 private:
  subject subject_;
  std::vector<adapter_ptr> adapters_;
};

class bit_law : public ::testing::TestWithParam<const char*> {
 protected:
  const bench bench_{model_named(GetParam())};

  void expect_as_alone(executor& steps, schedule how, const std::vector<std::uint32_t>& requests) {
    executor_driver driver(steps, how);
    for (const std::uint32_t i : requests) driver.add(bench_.request(i));
    const auto& answers = driver.run();
    for (const std::uint32_t i : requests) {
      if (!quiet_.contains(i)) quiet_[i] = bench_.alone(i);
      EXPECT_EQ(answers.at(i), quiet_[i]) << "request " << i;
    }
  }
  std::map<std::uint32_t, answer> quiet_;
};

TEST_P(bit_law, an_adapter_changes_what_is_said) {
  // Else every comparison below would hold for an engine that ignores versions.
  auto spec = bench_.request(0);
  const auto on_base = bench_.alone(0);
  const auto steps = bench_.engine();
  executor_driver driver(*steps, schedule{});
  spec.version = version(1);
  driver.add(spec);
  EXPECT_NE(driver.run().at(0).logprob_bits, on_base.logprob_bits);
}

TEST_P(bit_law, a_batch_of_32_with_other_versions_changes_nothing) {
  const std::vector<std::uint32_t> some = {0, 1, 2, 3, 17, 31};
  std::map<std::uint32_t, answer> alone;
  for (const std::uint32_t i : some) alone[i] = bench_.alone(i);
  for (const std::uint32_t threads : {1u, 2u}) {  // two of them divide so many rows, not outputs
    const auto steps = bench_.engine(threads);
    executor_driver driver(*steps, schedule{});
    for (std::uint32_t i = 0; i < 32; ++i) driver.add(bench_.request(i));
    const auto& answers = driver.run();
    for (const std::uint32_t i : some)
      EXPECT_EQ(answers.at(i), alone[i]) << "request " << i << ", " << threads << " threads";
  }
}

TEST_P(bit_law, chunks_of_prefill_change_nothing) {
  for (const std::uint32_t chunk : {1u, 7u, 16u, 64u}) {
    const auto steps = bench_.engine();
    SCOPED_TRACE(chunk);
    expect_as_alone(*steps, schedule{.chunk = chunk}, {1, 2});
  }
}

TEST_P(bit_law, a_prefix_hit_changes_nothing) {
  const auto steps = bench_.engine();
  expect_as_alone(*steps, schedule{}, {5, 6});
  const auto before = steps->cache().prefix_hits;
  expect_as_alone(*steps, schedule{}, {5, 6});
  EXPECT_GE(steps->cache().prefix_hits - before, 32u);
}

TEST_P(bit_law, preemption_changes_nothing) {
  const auto steps = bench_.engine();
  executor_driver driver(*steps, schedule{.chunk = 16, .preempt_every = 2});
  for (const std::uint32_t i : {1u, 2u, 3u}) driver.add(bench_.request(i));
  const auto& answers = driver.run();
  EXPECT_GE(driver.preemptions(), 3u);
  for (const std::uint32_t i : {1u, 2u, 3u})
    EXPECT_EQ(answers.at(i), bench_.alone(i)) << "request " << i;
}

TEST_P(bit_law, a_cache_too_small_for_all_changes_nothing) {
  const std::uint64_t block = bench_.of().kv_bytes / bench_.engine()->cache().blocks_total;
  const auto steps = bench_.engine(1, block * 12);
  expect_as_alone(*steps, schedule{}, {1, 2, 3, 4, 6});
}

TEST_P(bit_law, threads_change_nothing) {
  const auto steps = bench_.engine(2);
  expect_as_alone(*steps, schedule{.chunk = 32}, {1, 2, 3});
}

TEST_P(bit_law, a_seed_is_a_fact_and_another_seed_another) {
  const auto steps = bench_.engine();
  executor_driver driver(*steps, schedule{});
  for (const std::uint64_t seed : {7u, 7u, 8u}) {
    auto spec = bench_.request(1);
    spec.id = driver.answers().size();
    spec.how.temperature = 4.0f;  // flat enough that two seeds part at once
    spec.how.seed = seed;
    driver.add(spec);
  }
  const auto& answers = driver.run();
  EXPECT_EQ(answers.at(0), answers.at(1));
  EXPECT_NE(answers.at(0).tokens, answers.at(2).tokens);
}

// KV of one version must never answer for another, nor for the same name with other
// weights.
TEST_P(bit_law, p2_one_prompt_on_a_b_and_a_new_a_equals_three_cold_runs) {
  const auto warm = bench_.engine();
  for (const std::uint32_t number : {1u, 2u, 3u}) {
    auto spec = bench_.request(0);
    spec.version = version(number);
    const auto cold = bench_.engine();
    executor_driver quiet(*cold, schedule{}), storm(*warm, schedule{});
    quiet.add(spec);
    storm.add(spec);
    EXPECT_EQ(storm.run().at(0), quiet.run().at(0)) << to_string(spec.version);
  }
  EXPECT_EQ(warm->cache().prefix_hits, 0u);
  ASSERT_TRUE(warm->unload(version(1)));
  ASSERT_TRUE(warm->load(version(1), bench_.weights(3)));
  auto spec = bench_.request(0);
  spec.version = version(1);
  executor_driver storm(*warm, schedule{});
  storm.add(spec);
  const auto cold = bench_.engine();
  spec.version = version(3);
  executor_driver quiet(*cold, schedule{});
  quiet.add(spec);
  EXPECT_EQ(storm.run().at(0), quiet.run().at(0))
      << "the name of version 1 with the weights of version 3";
}

// Versions come and go while requests run; nobody's answer moves.
TEST_P(bit_law, a_storm_of_swaps_changes_nothing) {
  const auto steps = bench_.engine();
  executor_driver driver(*steps, schedule{.chunk = 16});
  const std::vector<std::uint32_t> requests = {1, 2, 3, 4, 5};
  for (const std::uint32_t i : requests) driver.add(bench_.request(i));
  std::uint32_t refused = 0;
  const auto& answers = driver.run([&](std::uint32_t step) {
    refused += !steps->unload(version(1 + step % 3));
    const version_id fresh{"assistant", 100 + step};
    EXPECT_TRUE(steps->load(fresh, bench_.weights(1 + step % 3)));
    if (step > 0) {
      EXPECT_TRUE(steps->unload({"assistant", 99 + step}));
    }
  });
  EXPECT_GE(refused, 3u);
  for (const std::uint32_t i : requests)
    EXPECT_EQ(answers.at(i), bench_.alone(i)) << "request " << i;
}

INSTANTIATE_TEST_SUITE_P(of, bit_law,
                         ::testing::Values("tiny", "smollm2", "qwen2_folder", "qwen3",
                                           "gemma3_folder"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace collm::engine
