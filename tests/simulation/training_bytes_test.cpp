// I1 with the real engine: what requests answer and what a shadow learns are the same bytes whether
// the two share an engine or not.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/engine.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/support/modelled_trainer.hpp"
#include "tests/support/tiny_model.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using testing_support::engine_rig;
using testing_support::paced_trainer;
constexpr std::uint32_t requests = 12, batches = 3;
const version_id served{"assistant", 1};

engine::adapter_ptr parent() {
  return engine::tiny::random_adapter(engine::tiny::open_tiny(engine::precision::int8)->shape(), 7,
                                      3, 0.1f);
}

std::unique_ptr<engine::trainer> make_shadow() {
  engine::training_options o;
  o.learning_rate = 1e-2f;
  o.batch_tokens = 128;
  o.sample_tokens = 96;
  o.window_tokens = 32;
  o.head_tokens = 16;
  auto made = engine::make_trainer(engine::tiny::open_tiny(engine::precision::int8), parent(), o);
  EXPECT_TRUE(made) << made.failure().message;
  return *std::move(made);
}

std::vector<engine::training_sample> batch(std::uint32_t i) {
  engine::tiny::random_numbers random(50 + i);
  std::vector<engine::training_sample> out;
  for (const std::uint32_t length : {60, 40, 20}) {
    out.emplace_back();
    for (std::uint32_t t = 0; t < length; ++t)
      out.back().tokens.push_back(static_cast<std::int32_t>(random.below(200)));
    out.back().prompt_tokens = length / 3;
  }
  return out;
}

std::vector<float> numbers(const engine::trainer& t) {
  std::vector<float> out;
  for (const auto& f : t.factors()) out.insert(out.end(), f.values.begin(), f.values.end());
  return out;
}

std::shared_ptr<engine::executor> make_steps() {
  auto made = engine::make_executor(engine::tiny::open_tiny(engine::precision::int8),
                                    {.kv_bytes = 4u << 20, .threads = 1, .sequences_max = 16});
  EXPECT_TRUE(made) << made.failure().message;
  EXPECT_TRUE((*made)->load(served, parent()));
  return std::move(*made);
}

struct seen {
  std::vector<std::vector<std::int32_t>> tokens;
  std::vector<std::vector<float>> logprobs;
  std::vector<float> factors;
  std::uint32_t units_beside_requests = 0;
};

seen serve(bool trains) {
  engine_rig rig(make_steps());
  for (std::uint32_t i = 0; i < requests; ++i) {
    engine_rig::request r{
        .answer_tokens = 24, .version = i % 3 == 0 ? version_id{} : served, .seed = i};
    r.prompt.clear();
    for (std::uint32_t t = 0; t < 20 + 5 * i; ++t)
      r.prompt.push_back(static_cast<std::int32_t>(4 + (i * 37 + t * 11) % 190));
    rig.coming.emplace_back(rig.system.now() + i * 10ms, std::move(r));
  }
  const auto unfinished = [&] {
    return std::any_of(rig.answers.begin(), rig.answers.end(),
                       [](const auto& a) { return a.second.finished == 0; });
  };
  seen out;
  const auto shadow =
      std::make_shared<paced_trainer>(make_shadow(), [&](const engine::training_unit&) {
        out.units_beside_requests += unfinished() ? 1 : 0;
        rig.compute(5ms);
      });
  rig.grant(0.8);
  for (std::uint32_t i = 0; trains && i < batches; ++i)
    rig.train(shadow, [i](engine::trainer& t) { return t.begin_batch(batch(i)); });
  rig.pass(10s);
  for (const auto& job : rig.outcomes) EXPECT_TRUE(job && *job && (*job)->batch);
  for (const auto& [id, a] : rig.answers) {
    EXPECT_EQ(a.tokens.size(), 24u);
    out.tokens.push_back(a.tokens);
    out.logprobs.push_back(a.logprobs);
  }
  out.factors = numbers(*shadow);
  return out;
}

TEST(training_bytes, answers_and_factors_are_those_of_serving_and_of_training_alone) {
  const auto alone = serve(false), beside = serve(true);
  ASSERT_EQ(alone.tokens.size(), requests);
  EXPECT_EQ(alone.tokens, beside.tokens);
  EXPECT_EQ(alone.logprobs, beside.logprobs);
  EXPECT_GT(beside.units_beside_requests, 20u) << "they did not share the engine";

  const auto shadow = make_shadow();
  EXPECT_EQ(alone.factors, numbers(*shadow)) << "nothing was trained";
  for (std::uint32_t i = 0; i < batches; ++i) {
    ASSERT_TRUE(shadow->begin_batch(batch(i)));
    while (shadow->next()) ASSERT_TRUE(shadow->run());
  }
  EXPECT_EQ(numbers(*shadow), beside.factors);
  EXPECT_NE(alone.factors, beside.factors);
}

}  // namespace
}  // namespace collm
