// The factors of one adapter as training reads them: flat, so that optimizer and federation walk
// them as one row of numbers, and turned where a product needs it. One thread.
#pragma once

#include <span>
#include <vector>

#include "engine/adapter/adapter.hpp"
#include "engine/kernels/line_vector.hpp"
#include "engine/model/base_weights.hpp"

namespace collm::engine {

/// One adapted target. Offsets into lora_set::values(): A [rank, in], then B transposed
/// [rank, out].
struct lora_target {
  target which = target::q;
  std::uint32_t rank = 0, in = 0, out = 0;
  float scale = 0;
  std::size_t a = 0, b = 0;
  std::size_t plain_b = 0;         ///< B [out, rank], in lora_set::plain_b()
  std::uint32_t column = 0;        ///< first of its columns of t = x At of the product
  std::uint32_t first_output = 0;  ///< within the product
};

/// The adapted targets of one base product: they share its input.
struct lora_product {
  std::uint32_t in = 0, ranks = 0;
  std::uint32_t column = 0;  ///< first of its columns in a row of the layer's t
  std::size_t turned_a = 0;  ///< [in, ranks], in lora_set::turned_a()
  std::vector<lora_target> targets;
};

class lora_set {
 public:
  lora_set(const model_shape& shape, const adapter& from);
  /// Takes the numbers of `from`, whose shape must be the same.
  void take(const adapter& from);
  /// Whether `other` has the same targets, ranks and scales.
  bool same_shape(const adapter& other) const;
  /// The same numbers as an immutable version.
  adapter_ptr sealed() const;

  const lora_product& of(std::uint32_t layer, matrix m) const {
    return products_[layer * matrices_count + static_cast<std::size_t>(m)];
  }
  /// In the order of factors: by layer, target, A before B.
  std::span<const lora_target> targets(std::uint32_t layer) const;
  std::uint32_t layers() const { return static_cast<std::uint32_t>(by_layer_.size()); }
  std::uint32_t row_ranks() const { return row_ranks_; }          ///< most columns of a layer's t
  std::uint32_t product_ranks() const { return product_ranks_; }  ///< of one product's

  std::span<float> values() { return values_; }
  std::span<const float> values() const { return values_; }
  const float* plain_b() const { return plain_b_.data(); }
  const float* turned_a() const { return turned_a_.data(); }
  /// After values() changed: the turned copies follow.
  void refresh();
  std::uint64_t bytes() const {
    return (values_.size() + plain_b_.size() + turned_a_.size()) * sizeof(float);
  }

 private:
  std::vector<lora_product> products_;              ///< [layer][matrix]
  std::vector<std::vector<lora_target>> by_layer_;  ///< the same targets in factor order
  std::uint32_t row_ranks_ = 0, product_ranks_ = 0;
  line_vector<float> values_, plain_b_, turned_a_;
};

}  // namespace collm::engine
