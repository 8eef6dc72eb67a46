// Trainers for tests of what drives them: one without a model, whose units only pass time, and one
// that lets time pass round a real one's.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "engine/training.hpp"

namespace collm::testing_support {

/// A batch is `layers` forwards, a loss head, `layers` backwards and the optimizer's step.
class modelled_trainer final : public engine::trainer {
 public:
  std::uint32_t layers = 4, window_tokens = 64, head_tokens = 16;
  /// Called with each unit: lets virtual time pass.
  std::function<void(const engine::training_unit&)> computes;
  std::uint32_t units = 0, batches = 0, abandoned = 0;
  std::uint32_t fails_at = 0, throws_at = 0;  ///< the n-th unit since start; 0: none

  result<void> begin_batch(std::vector<engine::training_sample> samples) override {
    if (next()) return error{errc::conflict, "a batch is in progress"};
    if (samples.empty()) return error{errc::bad_request, "a batch needs a sample"};
    using enum engine::unit_kind;
    for (std::uint32_t l = 0; l < layers; ++l) left_.push_back({layer_forward, window_tokens});
    left_.push_back({loss_head, head_tokens});
    for (std::uint32_t l = 0; l < layers; ++l) left_.push_back({layer_backward, window_tokens});
    left_.push_back({optimizer_step, 0});
    at_ = 0;
    return {};
  }
  result<void> begin_evaluation(std::vector<engine::training_sample> samples,
                                engine::adapter_ptr) override {
    return begin_batch(std::move(samples));
  }
  void abandon() override {
    left_.clear();
    at_ = 0;
    ++abandoned;
  }
  std::optional<engine::training_unit> next() const override {
    return at_ < left_.size() ? std::optional(left_[at_]) : std::nullopt;
  }
  result<engine::unit_report> run() override {
    const auto unit = left_[at_++];
    ++units;
    if (computes) computes(unit);
    if (units == fails_at) return error{errc::bad_request, "the loss is no finite number"};
    if (units == throws_at) throw std::bad_alloc();
    engine::unit_report out;
    if (at_ < left_.size()) return out;
    left_.clear();
    at_ = 0;
    out.batch = engine::batch_report{.step = ++batches, .tokens = window_tokens};
    return out;
  }
  std::vector<engine::factor> factors() const override { return {}; }
  engine::adapter_ptr snapshot() const override { return nullptr; }
  result<void> rebase(engine::adapter_ptr, engine::trained_factors) override { return {}; }
  result<std::vector<std::uint8_t>> checkpoint() const override {
    return std::vector<std::uint8_t>{};
  }
  result<void> resume(std::span<const std::uint8_t>) override { return {}; }
  result<void> take_moments(std::span<const std::uint8_t>) override { return {}; }
  std::uint64_t steps() const override { return batches; }
  engine::training_memory declared() const override { return {}; }
  engine::training_memory used() const override { return {}; }

 private:
  std::vector<engine::training_unit> left_;
  std::size_t at_ = 0;
};

/// Another trainer, with time passing at each unit.
class paced_trainer final : public engine::trainer {
 public:
  paced_trainer(std::unique_ptr<engine::trainer> inner,
                std::function<void(const engine::training_unit&)> computes)
      : inner_(std::move(inner)), computes_(std::move(computes)) {}

  result<void> begin_batch(std::vector<engine::training_sample> samples) override {
    return inner_->begin_batch(std::move(samples));
  }
  result<void> begin_evaluation(std::vector<engine::training_sample> samples,
                                engine::adapter_ptr version) override {
    return inner_->begin_evaluation(std::move(samples), std::move(version));
  }
  void abandon() override { inner_->abandon(); }
  std::optional<engine::training_unit> next() const override { return inner_->next(); }
  result<engine::unit_report> run() override {
    computes_(*inner_->next());
    return inner_->run();
  }
  std::vector<engine::factor> factors() const override { return inner_->factors(); }
  engine::adapter_ptr snapshot() const override { return inner_->snapshot(); }
  result<void> rebase(engine::adapter_ptr parent, engine::trained_factors which) override {
    return inner_->rebase(std::move(parent), which);
  }
  result<std::vector<std::uint8_t>> checkpoint() const override { return inner_->checkpoint(); }
  result<void> resume(std::span<const std::uint8_t> c) override { return inner_->resume(c); }
  result<void> take_moments(std::span<const std::uint8_t> c) override {
    return inner_->take_moments(c);
  }
  std::uint64_t steps() const override { return inner_->steps(); }
  engine::training_memory declared() const override { return inner_->declared(); }
  engine::training_memory used() const override { return inner_->used(); }

 private:
  std::unique_ptr<engine::trainer> inner_;
  std::function<void(const engine::training_unit&)> computes_;
};

}  // namespace collm::testing_support
