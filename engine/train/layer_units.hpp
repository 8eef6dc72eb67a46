// One layer of the decoder over one window of rows, forward and back, and the loss head: the
// arithmetic of units. The base is frozen: back through its products go gradients of activations
// only, int8 tiles as they lie; LoRA's factors get their gradients. Attention, norms and gates are
// floats on either base, so an f32 base differs in its products alone. One engine thread; inside, a
// team of OpenMP threads divides rows, or the columns of a product: weights are turned and widened
// once for all rows, not once a member. It never divides a sum, so its size does not show.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/kernels/line_vector.hpp"
#include "engine/model/packed_base.hpp"
#include "engine/model/rotary.hpp"
#include "engine/model/team.hpp"
#include "engine/train/attention.hpp"
#include "engine/train/lora_set.hpp"
#include "engine/train/workspace.hpp"

namespace collm::engine {

/// One row's part of the loss.
struct row_loss {
  double cross_entropy = 0;  ///< nats
  bool most_likely = false;  ///< the target is the most likely token; known when scoring only
};

/// Where gradients of factors go; laid out as lora_set::values().
struct gradient_sink {
  std::span<float> values;
  trained_factors which = trained_factors::both;
};

/// Outputs or inputs of a product: whole blocks of it, forward and back.
inline constexpr std::uint32_t product_grain = 48;

class layer_units {
 public:
  /// `ranks`: the largest row_ranks() and product_ranks() of the adapters that it will meet.
  layer_units(std::shared_ptr<const packed_base> base, const training_options& options,
              std::uint32_t row_ranks, std::uint32_t product_ranks);
  static std::uint64_t bytes_for(const packed_base& base, const training_options& options,
                                 std::uint32_t row_ranks, std::uint32_t product_ranks);
  std::uint64_t bytes() const;

  /// Room for a pass; before its first unit.
  void start(const training_pass& pass);
  void forward(const unit_place& unit, const lora_set& with);
  /// After loss() of the same window; from the last layer to the first.
  void back(const unit_place& unit, const lora_set& with, const gradient_sink& to);
  /// Losses of some of the window's rows, in order, at most head_tokens; sets the gradients that
  /// back() takes on, `weight` for each row. A window's first rows come first.
  std::vector<row_loss> loss(const unit_place& unit, loss_rows some, float weight);
  /// The same losses, without a gradient.
  std::vector<row_loss> score(const unit_place& unit, loss_rows some);

 private:
  struct rows_share {
    std::uint32_t first, last;
  };
  struct columns_share {
    std::uint32_t first, last;
  };
  void together(const std::function<void(const member&)>& f);
  static rows_share share(const member& me, std::uint32_t rows);
  static columns_share columns(const member& me, std::uint32_t count);
  void embed(const unit_place& unit, std::uint32_t row);
  // -- products: each member prepares its rows, then all rows meet its part of the weights
  void adapted(const unit_place& unit, const lora_set& with, matrix m, const member& me,
               rows_share rows);
  void adapted_back(const unit_place& unit, const lora_set& with, matrix m, const member& me,
                    rows_share rows, const float* dy, const gradient_sink& to);
  void quantise(const linear_weights& w, rows_share rows);
  void quantise_gradient(const linear_weights& w, rows_share rows, const float* dy);
  void shrink(const unit_place& unit, const lora_set& with, matrix m, rows_share rows);
  void shrink_back(const unit_place& unit, const lora_set& with, matrix m, rows_share rows,
                   const float* dy);
  void multiply(const unit_place& unit, const lora_set& with, matrix m, columns_share outputs);
  void multiply_back(const unit_place& unit, const lora_set& with, matrix m, columns_share inputs,
                     const float* dy);
  void gather(const unit_place& unit, const lora_set& with, matrix m, const member& me,
              const float* dy, const gradient_sink& to);
  // -- phases of a layer
  void read(const unit_place& unit, rows_share rows);
  void turn(const unit_place& unit, std::uint32_t row, float* qkv);
  void turn_back(const unit_place& unit, std::uint32_t row, float* qkv_gradient);
  void turn_all(const unit_place& unit, rows_share rows);
  void to_middle(const unit_place& unit, rows_share rows);
  void gate(const unit_place& unit, rows_share rows);
  void to_next(const unit_place& unit, rows_share rows);
  void add_residual(const unit_place& unit, saved_row raw, const float* norm, std::uint32_t row,
                    const float* from, float* to);
  void down_back(const unit_place& unit, rows_share rows);
  void gate_back(const unit_place& unit, rows_share rows);
  void output_back(const unit_place& unit, rows_share rows);
  void keys_back(const unit_place& unit, const member& me, rows_share rows);
  void queries_back(const unit_place& unit, rows_share rows);
  void input_back(const unit_place& unit, rows_share rows);
  std::vector<row_loss> losses(const unit_place& unit, loss_rows some, bool scoring, float weight);
  void head_forward(const member& me, const unit_place& unit, std::span<const std::uint32_t> rows,
                    bool scoring, float weight, row_loss* losses);
  void head_back(const member& me, const unit_place& unit, std::span<const std::uint32_t> rows,
                 float weight);

  const model_shape& shape() const { return base_->shape(); }
  const layer_weights& layer(const unit_place& unit) const {
    return base_->weights().layers[unit.layer];
  }
  const rotary_angles& angles(std::uint32_t layer) const {
    return angles_[shape().windowed(layer) ? 1 : 0];
  }
  float* carried(const unit_place& unit);

  // constant after construction
  std::shared_ptr<const packed_base> base_;
  const kernel_table& kernels_;
  const training_table& training_;
  std::uint32_t threads_;
  std::vector<rotary_angles> angles_;  ///< of whole layers, then of windowed ones if there are any

  // the caller's thread, and its team within a unit
  meeting_point point_;
  workspace work_;
  saved_activations saved_;
  training_attention attention_;
  std::vector<attention_scratch> scratch_;  ///< one a member
  std::vector<attention_part> parts_;
  key_value_gradients left_;
  line_vector<float> carried_;  ///< gradients of keys and values for earlier windows, [layer][row]
  std::uint32_t carried_rows_ = 0;
};

}  // namespace collm::engine
