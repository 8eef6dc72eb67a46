// What a simulated cluster learns: factors of a small shape, a trainer that changes them by what it
// saw, and the bytes of every update that crossed the link.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "coordinator/gate.hpp"
#include "engine/adapter/adapter.hpp"
#include "federation/strategy.hpp"

namespace collm::simulation {

/// What a plan says of learning; the same over restarts.
struct learning_facts {
  bool on = true;
  federation::strategy how;
  std::uint32_t quorum = 1, steps = 3;
  double deadline_ms = 10000;
  std::optional<coordinator::canary_options> canary;
};

const federation::adapter_shape& learned_shape();
/// Factors of a version that no round made: they follow from its digest.
std::vector<float> factors_named(const std::string& digest);
/// The digest of a version with these factors, at nodes and at the head.
std::string digest_of_factors(const std::vector<float>& factors);
/// A version with factors: named ones, or those of a round.
engine::adapter_ptr adapter_with(const std::string& digest);
engine::adapter_ptr adapter_with(const std::string& digest, const std::vector<float>& factors);

/// Every step adds to each trained factor what its samples' tokens say, so that the same data give
/// the same bytes. A version's cross entropy follows from its digest and the sample.
class seeing_trainer final : public engine::trainer {
 public:
  explicit seeing_trainer(const engine::adapter_ptr& parent) { take(*parent); }
  result<void> begin_batch(std::vector<engine::training_sample> samples) override;
  result<void> begin_evaluation(std::vector<engine::training_sample> samples,
                                engine::adapter_ptr version) override;
  void abandon() override;
  std::optional<engine::training_unit> next() const override;
  result<engine::unit_report> run() override;
  std::vector<engine::factor> factors() const override;
  engine::adapter_ptr snapshot() const override;
  result<void> rebase(engine::adapter_ptr parent, engine::trained_factors which) override;
  result<std::vector<std::uint8_t>> checkpoint() const override;
  result<void> resume(std::span<const std::uint8_t> checkpoint) override;
  result<void> take_moments(std::span<const std::uint8_t>) override { return {}; }  ///< it has none
  std::uint64_t steps() const override { return steps_; }
  engine::training_memory declared() const override { return {}; }
  engine::training_memory used() const override { return {}; }

 private:
  void take(const engine::adapter& parent);
  std::vector<float> values_;
  engine::trained_factors which_ = engine::trained_factors::both;
  std::uint64_t steps_ = 0;
  std::vector<engine::training_sample> batch_;
  engine::adapter_ptr scored_;
  std::uint32_t units_left_ = 0;
};

/// Updates by their digest, as they came over the link.
class update_tap {
 public:
  void saw(const schema::UpdateChunk::Reader& chunk);
  const std::vector<float>* find(const std::string& digest) const;

 private:
  std::map<std::string, std::vector<float>> updates_;
};

}  // namespace collm::simulation
