// Rounds among trainers of one process, as the aggregator makes them: all start from one parent,
// their changes are summed by federation/, the sum is the next parent. Owner: one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "federation/aggregation.hpp"

namespace collm::bench {

/// `name`: fedavg, ffa, rolora or stack_svd; another one ends the process.
federation::strategy strategy_of(const std::string& name);

class merging {
 public:
  /// What a client did since begin().
  struct client {
    engine::trainer* shadow = nullptr;  ///< not owned
    std::int64_t tokens = 0;            ///< trained on in this round: the update's weight
  };

  /// `alpha`: of the scale, alpha / rank.
  merging(engine::adapter_ptr first, const federation::strategy& how, float alpha);

  /// Opens a round: each trainer stands at the parent, and knows which factors it trains.
  void begin(const std::vector<engine::trainer*>& shadows);
  /// Closes it. The aggregation error, or -1 where the mode does not tell it.
  double merge(const std::vector<client>& clients);

  const engine::adapter_ptr& parent() const { return parent_; }
  /// Bytes of one client's update in the round that is open.
  std::uint64_t update_bytes() const;

 private:
  bool trained(const engine::factor& f) const;
  std::vector<float> change(const engine::trainer& shadow) const;

  engine::adapter_ptr parent_;
  federation::strategy how_;
  federation::adapter_shape shape_;
  federation::trained_factors trained_ = federation::trained_factors::both;
  std::uint32_t phase_ = 0;
};

}  // namespace collm::bench
