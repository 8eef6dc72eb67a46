// Drives a trainer as an adapter shadow would, in one go; for tests.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/train/shadow_trainer.hpp"

namespace collm::engine::training {

/// All units of the batch but the optimizer's step.
inline void run_to_optimizer(trainer& t, const std::vector<training_sample>& samples) {
  const auto begun = t.begin_batch(samples);
  ASSERT_TRUE(begun) << begun.failure().message;
  while (t.next()->kind != unit_kind::optimizer_step) {
    const auto done = t.run();
    ASSERT_TRUE(done) << done.failure().message;
  }
}

/// A whole batch.
inline batch_report run_batch(trainer& t, const std::vector<training_sample>& samples) {
  run_to_optimizer(t, samples);
  const auto done = t.run();
  EXPECT_TRUE(done) << done.failure().message;
  return done && done->batch ? *done->batch : batch_report{};
}

inline std::vector<sequence_score> run_evaluation(trainer& t,
                                                  const std::vector<training_sample>& samples,
                                                  adapter_ptr version) {
  const auto begun = t.begin_evaluation(samples, std::move(version));
  EXPECT_TRUE(begun) << begun.failure().message;
  while (t.next()) {
    auto done = t.run();
    EXPECT_TRUE(done) << done.failure().message;
    if (!done) break;
    if (done->scores) return *done->scores;
  }
  return {};
}

struct named_gradient {
  std::string name;
  std::vector<float> values;
};

/// Gradients as torch has them: A [rank, in], B [out, rank]; in the order of factors().
inline std::vector<named_gradient> gradients(shadow_trainer& t) {
  std::vector<named_gradient> all;
  for (std::uint32_t l = 0; l < t.set().layers(); ++l)
    for (const auto& of : t.set().targets(l)) {
      const std::string name = "layers." + std::to_string(l) + "." +
                               target_names[static_cast<std::size_t>(of.which)] + ".";
      const auto a = t.gradients().subspan(of.a, std::size_t{of.rank} * of.in);
      const auto turned = t.gradients().subspan(of.b, std::size_t{of.rank} * of.out);
      std::vector<float> b(turned.size());
      for (std::size_t j = 0; j < of.rank; ++j)
        for (std::size_t o = 0; o < of.out; ++o) b[o * of.rank + j] = turned[j * of.out + o];
      all.push_back({name + "A", {a.begin(), a.end()}});
      all.push_back({name + "B", std::move(b)});
    }
  return all;
}

}  // namespace collm::engine::training
