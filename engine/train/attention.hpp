// Causal attention within a sample, and its derivative (softmax(Q Kt) V; scores are computed anew
// on the way back). Queries, keys and values come from what the forward unit kept. One engine
// thread; each member of the team takes whole parts. How rows are cut into parts follows from the
// model alone, so sums do not depend on the team.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/kernels/line_vector.hpp"
#include "engine/train/batch.hpp"
#include "engine/train/saved_activations.hpp"

namespace collm::engine {

/// Some rows of a sample that the unit computes, for one KV head. A model of few KV heads has its
/// rows in two slices of about the same work, so that two threads end together.
struct attention_part {
  sample_rows sample;
  std::uint32_t kv_head = 0, slice = 0;
  std::uint32_t first = 0, last = 0;  ///< positions within the sample; a slice may be empty
  std::uint32_t end = 0;              ///< of the sample's positions in this window
};

std::uint32_t attention_slices(const model_shape& shape);
/// The parts of a unit in one fixed order.
std::vector<attention_part> attention_parts(const unit_place& unit, const model_shape& shape);

/// What each slice of a unit's rows leaves for keys and values: [slice][row of the pass][K, V].
class key_value_gradients {
 public:
  explicit key_value_gradients(const model_shape& shape)
      : slices_(attention_slices(shape)),
        width_(std::size_t{2} * shape.kv_heads * shape.head_dim) {}
  void reserve(std::uint32_t rows) {
    rows_ = rows;
    const std::size_t floats = slices_ * rows_ * width_;
    if (floats > memory_.capacity()) memory_ = {};  // never the old beside the new
    if (floats > memory_.size()) memory_.resize(floats);
  }
  std::uint64_t bytes_for(std::uint32_t rows) const {
    return slices_ * rows * width_ * sizeof(float);
  }
  std::uint64_t bytes() const { return memory_.capacity() * sizeof(float); }
  std::size_t width() const { return width_; }
  std::size_t slices() const { return slices_; }
  float* of(std::size_t slice, std::size_t row) {
    return memory_.data() + (slice * rows_ + row) * width_;
  }

 private:
  std::size_t slices_, width_, rows_ = 0;
  line_vector<float> memory_;
};

/// Memory of one member.
class attention_scratch {
 public:
  attention_scratch(const model_shape& shape, std::uint32_t sample_tokens);
  static std::uint64_t bytes_for(const model_shape& shape, std::uint32_t sample_tokens);
  std::uint64_t bytes() const { return memory_.size() * sizeof(float); }

 private:
  friend class training_attention;
  float *keys_ = nullptr, *turned_keys_ = nullptr, *turned_values_ = nullptr,
        *values_ = nullptr;  ///< [tokens, head_dim] or turned
  float *queries_ = nullptr, *weights_ = nullptr, *score_gradients_ = nullptr;  ///< a block's
  std::size_t turned_stride_ = 0;
  line_vector<float> memory_;
};

class training_attention {
 public:
  training_attention(const model_shape& shape, const saved_activations& saved)
      : shape_(shape), saved_(saved), kernels_(training_kernels()) {}
  /// Writes the part's heads of row i of the window to out + i * out_stride.
  void forward(const unit_place& unit, const attention_part& part, attention_scratch& scratch,
               float* out, std::size_t out_stride) const;
  /// From the gradient of forward()'s output (same place) to those of q, written to
  /// to + i * to_stride, and what the part's slice leaves for k and v.
  void back(const unit_place& unit, const attention_part& part, attention_scratch& scratch,
            const float* out_gradient, std::size_t out_stride, float* to, std::size_t to_stride,
            key_value_gradients& left) const;

 private:
  struct block;
  void load(const unit_place& unit, const attention_part& part, attention_scratch& scratch,
            bool back) const;
  void weigh(const unit_place& unit, const attention_part& part, attention_scratch& scratch,
             const block& b) const;
  void block_back(const block& b, attention_scratch& scratch, const float* out_gradient,
                  std::size_t out_stride, float* query_gradient, std::size_t to_stride,
                  float* key_gradients) const;
  /// First position that the row at `position` sees.
  std::uint32_t oldest(std::uint32_t layer, std::uint32_t position) const {
    const std::uint32_t window = shape_.windowed(layer) ? shape_.window : 0;
    return window == 0 || position + 1 < window ? 0 : position + 1 - window;
  }

  const model_shape& shape_;
  const saved_activations& saved_;
  const training_table& kernels_;
};

}  // namespace collm::engine
