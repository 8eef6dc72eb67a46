// What a pass keeps from its forward units for its backward units, by layer and row. Residuals are
// floats; inputs of attention and of the gate are halves on an int8 base, as serving's keys and
// values are. One engine thread; its team reads and writes different rows.
#pragma once

#include <array>

#include "engine/engine.hpp"
#include "engine/kernels/line_vector.hpp"
#include "engine/kernels/training_kernels.hpp"

namespace collm::engine {

/// Kept for each row of a layer; the last three only where the architecture has the norm.
enum class saved_row : std::uint8_t {
  qkv,       ///< after bias, norm and rotation: [queries + 2 keys]
  heads,     ///< what attention gives: [queries]
  gate_up,   ///< before the gate: [2 ffn]
  raw_qk,    ///< before the head norms: [queries + keys]
  o_out,     ///< before the norm behind attention: [hidden]
  down_out,  ///< before the norm behind the FFN: [hidden]
};
inline constexpr std::size_t saved_rows_count = 6;

class saved_activations {
 public:
  /// `ranks`: columns of a layer's t.
  saved_activations(const model_shape& shape, precision p, std::uint32_t ranks);
  /// Bytes for passes of `rows` rows.
  std::uint64_t bytes_for(std::uint32_t rows) const;
  std::uint64_t bytes() const { return bytes_for(rows_); }
  /// Room for a pass; what was kept is lost.
  void reserve(std::uint32_t rows);

  /// Input of a layer, [hidden]; of layer `layers`: what the head reads.
  float* residual(std::uint32_t layer, std::uint32_t row) {
    return at(residual_, layer, row, hidden_);
  }
  /// Between attention and FFN, [hidden].
  float* middle(std::uint32_t layer, std::uint32_t row) { return at(middle_, layer, row, hidden_); }
  /// scale x At of all adapted products, [ranks].
  float* t(std::uint32_t layer, std::uint32_t row) { return at(t_, layer, row, ranks_); }
  std::uint32_t ranks() const { return ranks_; }
  std::uint32_t width(saved_row kind) const { return widths_[static_cast<std::size_t>(kind)]; }
  /// Whole rows; nothing where the width is 0.
  void keep(saved_row kind, std::uint32_t layer, std::uint32_t row, const float* from);
  /// Numbers [first, first + n) of a row.
  void load(saved_row kind, std::uint32_t layer, std::uint32_t row, std::uint32_t first,
            std::uint32_t n, float* to) const;
  void load(saved_row kind, std::uint32_t layer, std::uint32_t row, float* to) const {
    load(kind, layer, row, 0, width(kind), to);
  }

 private:
  float* at(line_vector<float>& of, std::uint32_t layer, std::uint32_t row, std::uint32_t width) {
    return of.data() + (std::size_t{layer} * rows_ + row) * width;
  }

  const training_table& kernels_;
  std::uint32_t layers_, hidden_, ranks_, rows_ = 0;
  bool halves_;
  std::array<std::uint32_t, saved_rows_count> widths_{};
  line_vector<float> residual_, middle_, t_;
  std::array<line_vector<std::uint8_t>, saved_rows_count> kept_;
};

}  // namespace collm::engine
