// Training SmolLM2 on the demo's conversations: int8 learns what f32 learns, and holds no more
// memory than it declared. COLLM_TRAINING_STEPS sets how many steps the curves are compared over.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "demo/demo.hpp"
#include "tests/support/training_batches.hpp"
#include "text/chat_template.hpp"

namespace collm::engine {
namespace {

namespace fs = std::filesystem;

fs::path cache() {
  if (const char* set = std::getenv("COLLM_CACHE")) return set;
  return fs::path(std::getenv("HOME")) / ".cache/collm";
}

base_ptr smollm2(precision p) {
  auto b = open_base(cache() / "models/smollm2-135m-instruct.gguf", p, cache() / "bases");
  if (!b) throw std::runtime_error(b.failure().message);
  return *b;
}

/// The demo's adapter.
adapter_ptr fresh_adapter(const base& b) {
  return *initial_adapter(b, 8, 16, {"q", "k", "v", "o", "gate", "up", "down"}, 1);
}

training_options demo_options() {
  training_options o;
  o.learning_rate = 1e-3f;
  o.warmup_steps = 10;
  o.sample_tokens = 256;
  o.threads = 2;
  return o;
}

/// One site's record as samples: the loss is over the answer and its end mark.
std::vector<training_sample> conversations(const base& b, std::uint32_t count) {
  const auto tokens = *text::tokenizer::make(b.vocabulary());
  const auto chat = *text::chat_template::recognise(b.vocabulary().chat_template);
  const auto record = demo::generate(demo::site::kitchen, demo::split::train, count, 1);
  std::vector<training_sample> all;
  for (const auto& e : *record) {
    std::vector<text::chat_message> turns;
    for (const auto& m : e.messages) turns.push_back({m.role, m.content});
    training_sample s;
    s.tokens = *chat.encode(*tokens, turns, true);
    s.prompt_tokens = static_cast<std::uint32_t>(s.tokens.size());
    for (const auto t : tokens->encode(e.reference + "<|im_end|>", true)) s.tokens.push_back(t);
    all.push_back(std::move(s));
  }
  return all;
}

/// Batches in order, each as many samples as fit.
class batches {
 public:
  explicit batches(std::vector<training_sample> all) : all_(std::move(all)) {}
  std::vector<training_sample> next(std::uint32_t tokens_max) {
    std::vector<training_sample> some;
    std::size_t tokens = 0;
    while (tokens + all_[at_].tokens.size() <= tokens_max) {
      tokens += all_[at_].tokens.size();
      some.push_back(all_[at_]);
      at_ = (at_ + 1) % all_.size();
    }
    return some;
  }

 private:
  std::vector<training_sample> all_;
  std::size_t at_ = 0;
};

shadow_trainer make(const base_ptr& b, const training_options& o) {
  return {std::static_pointer_cast<const packed_base>(b), fresh_adapter(*b), o};
}

std::vector<double> losses(precision p, std::size_t steps) {
  const auto b = smollm2(p);
  auto t = make(b, demo_options());
  batches data(conversations(*b, 2000));
  std::vector<double> all;
  while (all.size() < steps)
    all.push_back(training::run_batch(t, data.next(demo_options().batch_tokens)).loss);
  return all;
}

TEST(training_smollm2, int8_loss_stays_within_one_percent_of_f32) {
  const char* asked = std::getenv("COLLM_TRAINING_STEPS");
  const std::size_t steps = asked == nullptr ? 8 : std::strtoul(asked, nullptr, 10);
  const auto exact = losses(precision::f32, steps), ours = losses(precision::int8, steps);
  double sum_exact = 0, sum_ours = 0;
  for (std::size_t i = 0; i < steps; ++i) {
    std::printf("step %zu: f32 %.5f, int8 %.5f\n", i + 1, exact[i], ours[i]);
    EXPECT_NEAR(1, ours[i] / exact[i], 0.05) << "step " << i + 1;  // a batch of 100 tokens is noisy
    sum_exact += exact[i];
    sum_ours += ours[i];
  }
  EXPECT_LT(exact.back(), 0.8 * exact.front());
  EXPECT_NEAR(1, sum_ours / sum_exact, 0.01);
}

// 8 bits of weights, activations and gradients: the direction is f32's.
TEST(training_smollm2, int8_gradients_point_where_f32s_do) {
  std::vector<float> g[2];
  for (const auto p : {precision::f32, precision::int8}) {
    const auto b = smollm2(p);
    auto t = make(b, demo_options());
    batches data(conversations(*b, 30));
    (void)training::run_batch(t, data.next(512));  // B is no longer zero, so A has a gradient
    training::run_to_optimizer(t, data.next(512));
    g[p == precision::int8].assign(t.gradients().begin(), t.gradients().end());
  }
  double dot = 0, exact = 0, ours = 0, error = 0;
  for (std::size_t i = 0; i < g[0].size(); ++i) {
    const double a = g[0][i], b = g[1][i];
    dot += a * b;
    exact += a * a;
    ours += b * b;
    error += (a - b) * (a - b);
  }
  std::printf("cosine %.5f, relative error %.4f\n", dot / std::sqrt(exact * ours),
              std::sqrt(error / exact));
  EXPECT_GT(dot / std::sqrt(exact * ours), 0.98);
}

std::uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::uint64_t size = 0, resident = 0, shared = 0;
  in >> size >> resident >> shared;
  return (resident - shared) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

TEST(training_smollm2, p20_memory_beside_serving_stays_below_what_was_declared) {
  const auto b = smollm2(precision::int8);
  const auto parent = fresh_adapter(*b);
  const std::vector<std::int32_t> text(300, 504);
  ASSERT_TRUE(cross_entropy(*b, text, 256, parent));  // the base and the libraries are touched
  const std::uint64_t serving = resident_bytes();
  const auto declared = plan_training(*b, *parent, demo_options());
  const auto t = make_trainer(b, parent, demo_options());
  ASSERT_TRUE(t);
  batches data(conversations(*b, 200));
  std::uint64_t most = 0;
  for (int step = 0; step < 2; ++step) {
    ASSERT_TRUE((*t)->begin_batch(data.next(demo_options().batch_tokens)));
    while ((*t)->next()) {
      ASSERT_TRUE((*t)->run());
      most = std::max(most, resident_bytes());
    }
  }
  std::printf("MiB: declared %.1f, grown %.1f\n", static_cast<double>(declared.total()) / (1 << 20),
              static_cast<double>(most - serving) / (1 << 20));
  EXPECT_LT(most, serving + declared.total());
}

}  // namespace
}  // namespace collm::engine
