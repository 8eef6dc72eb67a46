// Training against peft and torch's AdamW (training_oracle.py wrote what they say): gradients of
// every factor and 20 losses on tiny models of every architecture, in f32 to 1e-3; and int8 near
// it.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/train/shadow_trainer.hpp"
#include "tests/support/tiny_model.hpp"
#include "tests/support/training_batches.hpp"

namespace collm::engine {
namespace {

namespace fs = std::filesystem;

fs::path data() { return fs::path(COLLM_SOURCE_DIR) / "tests/golden/data"; }

training_options options_of(const nlohmann::json& from) {
  training_options o;
  o.learning_rate = from.at("learning_rate");
  o.warmup_steps = from.at("warmup_steps");
  o.weight_decay = from.at("weight_decay");
  o.beta1 = from.at("beta1");
  o.beta2 = from.at("beta2");
  o.epsilon = from.at("epsilon");
  o.clip = from.at("clip");
  o.lora_plus_ratio = from.at("lora_plus_ratio");
  o.window_tokens = 16;  // one sample takes three windows
  o.sample_tokens = 64;
  return o;
}

class training_golden : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::ifstream in(data() / "training" / (GetParam() + ".json"));
    ASSERT_TRUE(in);
    expected_ = nlohmann::json::parse(in);
    for (const auto& batch : expected_.at("batches")) {
      auto& samples = batches_.emplace_back();
      for (const auto& s : batch)
        samples.push_back({s.at("tokens").get<std::vector<std::int32_t>>(), s.at("prompt_tokens")});
    }
  }
  std::unique_ptr<shadow_trainer> make(precision p) const {
    auto opened = open_base(data() / GetParam() / "model.gguf", p, tiny::scratch() / "bases");
    EXPECT_TRUE(opened) << opened.failure().message;
    auto parent = load_peft(**opened, data() / GetParam() / "lora");
    EXPECT_TRUE(parent) << parent.failure().message;
    return std::make_unique<shadow_trainer>(std::static_pointer_cast<const packed_base>(*opened),
                                            *parent, options_of(expected_.at("options")));
  }
  nlohmann::json expected_;
  std::vector<std::vector<training_sample>> batches_;
};

/// |got - expected| / |expected| over one factor's gradient.
double distance(std::span<const float> got, const std::vector<float>& expected) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double e = expected[i], d = static_cast<double>(got[i]) - e;
    error += d * d;
    size += e * e;
  }
  return std::sqrt(error / size);
}

TEST_P(training_golden, f32_gradients_of_every_factor_equal_pefts) {
  const auto trainer = make(precision::f32);
  training::run_to_optimizer(*trainer, batches_[0]);
  std::size_t compared = 0;
  for (const auto& g : training::gradients(*trainer)) {
    const auto expected = expected_.at("gradients").at(g.name).get<std::vector<float>>();
    ASSERT_EQ(expected.size(), g.values.size()) << g.name;
    EXPECT_LT(distance(g.values, expected), 1e-3) << g.name;
    ++compared;
  }
  EXPECT_EQ(expected_.at("gradients").size(), compared);
}

TEST_P(training_golden, f32_losses_of_20_steps_equal_pefts) {
  const auto trainer = make(precision::f32);
  std::size_t step = 0;
  for (const double expected : expected_.at("losses")) {
    const auto report = training::run_batch(*trainer, batches_[step++ % batches_.size()]);
    EXPECT_NEAR(expected, report.loss, 1e-3 * expected) << step;
  }
  EXPECT_EQ(20u, step);
}

// Random weights have no structure that rounding could spare: 7 % is what 8 bits give here.
TEST_P(training_golden, int8_learns_as_f32_does) {
  const auto trainer = make(precision::int8);
  std::size_t step = 0;
  for (const double expected : expected_.at("losses"))
    EXPECT_NEAR(expected, training::run_batch(*trainer, batches_[step++ % batches_.size()]).loss,
                0.07 * expected)
        << step;
}

INSTANTIATE_TEST_SUITE_P(models, training_golden,
                         testing::Values("tied", "untied", "qwen2", "qwen3", "gemma3"),
                         [](const auto& of) { return of.param; });

}  // namespace
}  // namespace collm::engine
