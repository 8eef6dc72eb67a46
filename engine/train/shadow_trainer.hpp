// The trainer over a real model: one adapter's shadow, its optimizer, and the batch or evaluation
// in progress as a list of units of its present pass. Engine thread only.
#pragma once

#include "engine/train/checkpoint.hpp"
#include "engine/train/layer_units.hpp"

namespace collm::engine {

class shadow_trainer final : public trainer {
 public:
  shadow_trainer(std::shared_ptr<const packed_base> base, adapter_ptr parent,
                 const training_options& options);
  /// What the largest version that is evaluated takes: the parent before it is cut.
  struct version_room {
    std::uint32_t row_ranks, product_ranks;
    std::uint64_t bytes;
  };
  static version_room room_for(const lora_set& largest) {
    return {largest.row_ranks(), largest.product_ranks(), largest.bytes()};
  }
  static training_memory plan(const packed_base& base, const lora_set& own,
                              const version_room& largest, const training_options& options);

  result<void> begin_batch(std::vector<training_sample> samples) override;
  result<void> begin_evaluation(std::vector<training_sample> samples, adapter_ptr version) override;
  void abandon() override;
  std::optional<training_unit> next() const override;
  result<unit_report> run() override;

  std::vector<factor> factors() const override;
  adapter_ptr snapshot() const override { return set_.sealed(); }
  result<void> rebase(adapter_ptr parent, trained_factors which) override;
  result<std::vector<std::uint8_t>> checkpoint() const override;
  result<void> resume(std::span<const std::uint8_t> checkpoint) override;
  result<void> take_moments(std::span<const std::uint8_t> checkpoint) override;

  std::uint64_t steps() const override { return optimizer_.saved().steps; }
  training_memory declared() const override { return declared_; }
  training_memory used() const override;

  /// Gradients of the batch so far, laid out as lora_set::values(); for tests.
  std::span<const float> gradients() { return optimizer_.gradients(); }
  const lora_set& set() const { return set_; }

 private:
  struct planned_unit {
    unit_kind kind;
    std::uint32_t window, layer;
    loss_rows losses;  ///< of a loss head
  };
  /// A batch or an evaluation in progress.
  struct job {
    std::vector<training_pass> passes;
    std::size_t pass = 0, unit = 0;
    std::vector<planned_unit> units;  ///< of the present pass
    bool scoring = false;
    batch_report batch;
    double loss = 0;  ///< sum over completion tokens
    std::vector<sequence_score> scores;
    std::unique_ptr<lora_set> version;  ///< what is scored; null: the shadow
  };

  result<void> idle(const char* what) const;
  void begin(std::vector<training_sample> samples, bool scoring);
  void plan_pass();
  void run_unit(const planned_unit& unit);
  void add_scores(const unit_place& place, loss_rows some, std::span<const row_loss> losses);
  unit_report finish_scores();
  result<unit_report> finish_batch();
  const lora_set& active() const { return job_->version ? *job_->version : set_; }
  checkpoint_owner owner() const;

  // constant after construction
  std::shared_ptr<const packed_base> base_;
  training_memory declared_;

  // engine thread only
  training_options options_;
  adapter_ptr parent_;
  lora_set set_;
  version_room room_;                 ///< never changes
  std::vector<float> parent_values_;  ///< for prox alone
  adam_optimizer optimizer_;
  layer_units units_;
  std::optional<job> job_;
};

}  // namespace collm::engine
