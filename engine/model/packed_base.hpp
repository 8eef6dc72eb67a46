// The base as this engine holds it: an image of weights (a mapped file, or memory while packing)
// and pointers into it. Immutable after construction; any thread.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "engine/model/base_weights.hpp"

namespace collm::engine {

struct base_facts {
  model_shape shape;
  engine::precision precision = precision::f32;
  std::string digest;
  text::vocabulary vocabulary;
};

class packed_base final : public base {
 public:
  /// `memory` keeps the image alive; `mapping`: the whole file that holds it, header included.
  packed_base(base_facts facts, std::shared_ptr<const void> memory,
              std::span<const std::uint8_t> mapping, const std::uint8_t* image)
      : facts_(std::move(facts)), memory_(std::move(memory)), mapping_(mapping) {
    std::uint64_t bytes = 0;
    weights_ = bind_weights(facts_.shape, facts_.precision, image, bytes);
  }
  /// Weights that lie elsewhere, while packing.
  packed_base(base_facts facts, std::shared_ptr<const void> memory, base_weights weights)
      : facts_(std::move(facts)), memory_(std::move(memory)), weights_(std::move(weights)) {}
  const model_shape& shape() const override { return facts_.shape; }
  engine::precision precision() const override { return facts_.precision; }
  const std::string& digest() const override { return facts_.digest; }
  const text::vocabulary& vocabulary() const override { return facts_.vocabulary; }
  const void* mapping() const override { return mapping_.data(); }
  std::uint64_t mapping_bytes() const override { return mapping_.size(); }
  const base_weights& weights() const { return weights_; }

 private:
  base_facts facts_;
  std::shared_ptr<const void> memory_;
  std::span<const std::uint8_t> mapping_;
  base_weights weights_;
};

/// The only implementation of `base` in this library.
inline const packed_base& packed(const base& b) { return static_cast<const packed_base&>(b); }

}  // namespace collm::engine
