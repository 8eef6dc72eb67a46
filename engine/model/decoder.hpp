// The decoder over a packed base: rows in, logits out. One for all architectures: what a model
// lacks (a bias, a norm, a window) is a null pointer or a zero in its weights and shape. One thread
// calls forward(); inside, a team of OpenMP threads walks the layers together. Many rows are
// divided among the team, which then meets around attention only; of few rows, each member computes
// its part of every product's outputs, and the team meets after each phase. Attention is divided by
// (segment, KV head, rows).
#pragma once

#include <array>
#include <vector>

#include "engine/adapter/adapter.hpp"
#include "engine/model/model.hpp"
#include "engine/model/packed_base.hpp"
#include "engine/model/rotary.hpp"
#include "engine/model/team.hpp"

namespace collm::engine {

/// Watches the inputs of the products while packing calibrates; called by one thread.
class input_observer {
 public:
  virtual ~input_observer() = default;
  /// Its weights may be put in place now; false: the pass ends here.
  virtual bool layer_begins(std::uint32_t layer) = 0;
  virtual void layer_input(std::uint32_t layer, matrix m, const float* x, std::uint32_t in) = 0;
  virtual void head_input(const float* x, std::uint32_t in) = 0;
};

/// KV storage for one sequence, for passes outside a serving engine.
class private_pages {
 public:
  private_pages(const model_shape& shape, precision p, std::uint32_t tokens);
  const kv_pages& kv() const { return kv_; }
  std::span<const std::uint32_t> table() const { return table_; }

 private:
  std::vector<std::uint8_t> storage_;
  std::vector<std::uint32_t> table_;
  kv_pages kv_;
};

class decoder final : public model {
 public:
  decoder(std::shared_ptr<const packed_base> b, std::uint32_t threads, std::uint32_t rows_max,
          input_observer* observer = nullptr);
  std::span<const float> forward(std::span<const segment> segments, const kv_pages& kv) override;
  std::span<const logit_peak> peaks() const override { return {peaks_.data(), outputs_}; }
  std::uint64_t activation_bytes() const override;
  void watch(phase_clock* clock) override { clock_ = clock; }

 private:
  /// One target of a product: where its outputs lie.
  struct slot {
    target which;
    std::uint32_t first, out;
  };
  struct row_place {
    std::uint32_t segment, position;
    std::int32_t token;
  };
  /// What one member computes of a product.
  struct share {
    std::uint32_t first_row, last_row, first_out, last_out;
  };
  /// Rows times the positions that they see: in a layer without a window, and in one with it.
  using attention_cost = std::array<std::uint64_t, 2>;
  /// Rows of one segment, and the query rows of one attention item.
  struct attention_item {
    std::uint32_t segment, kv_head, first, rows;
    attention_cost before;  ///< of all items before it
  };

  void place_rows(std::span<const segment> segments);
  void place_attention(std::span<const segment> segments);
  void run(const member& me, std::span<const segment> segments, const kv_pages& kv);
  void run_layer(const member& me, std::uint32_t layer, std::span<const segment> segments,
                 const kv_pages& kv);
  void embed(std::uint32_t row);
  void prepare_row(const member& me, std::uint32_t layer, matrix m, std::uint32_t row, float* x,
                   const segment& s);
  void product(const member& me, std::uint32_t layer, matrix m, std::span<const segment> segments);
  void multiply(const linear_weights& w, const share& part, float* to, std::size_t to_stride);
  void add_lora(std::uint32_t layer, matrix m, const share& part,
                std::span<const segment> segments);
  void add_residual(const member& me, const float* post_norm);
  void turn_queries_keys(std::uint32_t layer, std::uint32_t row);
  static share share_of(const member& me, std::uint32_t rows, std::uint32_t outs);
  void keep_keys_values(std::uint32_t layer, std::uint32_t row, const segment& s,
                        const kv_pages& kv);
  template <class Number>
  void keep(const Number* from, std::uint8_t* block, std::uint32_t at, bool across) const;
  attention_task task_of(const attention_item& item, const segment& s, std::uint32_t layer,
                         const kv_pages& kv) const;
  void attention(const member& me, std::uint32_t layer, std::span<const segment> segments,
                 const kv_pages& kv);
  void head(const member& me);
  void head_products(const member& me);
  std::span<const slot> slots(matrix m) const;

  const float* wide(std::uint32_t row) const {
    return wide_.data() + std::size_t{row} * wide_stride_;
  }
  float* residual(std::uint32_t row) {
    return residual_.data() + std::size_t{row} * shape().hidden;
  }
  float* input(std::uint32_t row) { return input_.data() + std::size_t{row} * input_stride_; }
  float* wide(std::uint32_t row) { return wide_.data() + std::size_t{row} * wide_stride_; }
  float* lora(std::uint32_t row) { return lora_.data() + std::size_t{row} * lora_stride_; }
  const model_shape& shape() const { return base_->shape(); }
  const rotary_angles& angles(std::uint32_t layer) const {
    return angles_[shape().windowed(layer) ? 1 : 0];
  }

  // constant after construction
  std::shared_ptr<const packed_base> base_;
  const base_weights& weights_;
  const kernel_table& kernels_;
  std::uint32_t threads_, rows_max_;
  input_observer* observer_;
  std::vector<slot> slots_[matrices_count];
  std::size_t wide_stride_, input_stride_;

  // the caller's thread, and its team within forward()
  phase_clock* clock_ = nullptr;
  std::vector<rotary_angles> angles_;  ///< of whole layers, then of windowed ones if there are any
  meeting_point point_;
  std::uint32_t rows_ = 0, outputs_ = 0;
  std::vector<row_place> places_;
  std::vector<std::uint32_t> output_rows_;
  std::vector<attention_item> items_;
  attention_cost attention_cost_{};  ///< of all of them
  std::vector<float> residual_, input_, wide_, lora_,
      logits_;                     ///< input_: what the next product reads; wide_: what it gives
  std::vector<logit_peak> peaks_;  ///< [member][output]; after forward() the first ones are of all
  std::size_t lora_stride_ = 0;
  std::vector<std::uint8_t> quantised_bytes_, scratch_;
  std::vector<float> quantised_scales_;
  quantised_rows quantised_;
  std::size_t scratch_stride_ = 0;
};

}  // namespace collm::engine
