// Causal attention within a sample, and its derivative (softmax(Q Kt) V; scores are computed anew
// on the way back). Queries, keys and values come from what the forward unit kept. One engine
// thread; each member of the team takes whole (sample, KV head) pairs.
#pragma once

#include <vector>

#include "engine/train/batch.hpp"
#include "engine/train/saved_activations.hpp"

namespace collm::engine {

/// Rows of a sample that the unit computes, for one KV head.
struct attention_part {
  sample_rows sample;
  std::uint32_t kv_head = 0;
  std::uint32_t first = 0, last = 0;  ///< positions within the sample
};

/// The parts of a unit in one fixed order.
std::vector<attention_part> attention_parts(const unit_place& unit, std::uint32_t kv_heads);

/// Memory of one member.
class attention_scratch {
 public:
  attention_scratch(const model_shape& shape, std::uint32_t sample_tokens);
  static std::uint64_t bytes_for(const model_shape& shape, std::uint32_t sample_tokens);
  std::uint64_t bytes() const { return memory_.size() * sizeof(float); }

 private:
  friend class training_attention;
  float *keys_ = nullptr, *turned_keys_ = nullptr, *turned_values_ = nullptr, *values_ = nullptr,
        *key_gradients_ = nullptr, *value_gradients_ = nullptr;  ///< [tokens, head_dim] or turned
  float *queries_ = nullptr, *weights_ = nullptr, *score_gradients_ = nullptr;  ///< a block's
  std::size_t turned_stride_ = 0;
  std::vector<float> memory_;
};

class training_attention {
 public:
  training_attention(const model_shape& shape, const saved_activations& saved)
      : shape_(shape), saved_(saved), kernels_(training_kernels()) {}
  /// Writes the part's heads of row i of the window to out + i * out_stride.
  void forward(const unit_place& unit, const attention_part& part, attention_scratch& scratch,
               float* out, std::size_t out_stride) const;
  /// From the gradient of forward()'s output (same place) to those of q, k and v, written to
  /// to + i * to_stride as qkv lie. What falls to rows before the window is added to `carried`,
  /// [pass rows][2 keys]; what later windows left there for the window's rows is taken in. nullptr:
  /// the pass has one window.
  void back(const unit_place& unit, const attention_part& part, attention_scratch& scratch,
            const float* out_gradient, std::size_t out_stride, float* to, std::size_t to_stride,
            float* carried) const;

 private:
  struct block;
  void load(const unit_place& unit, const attention_part& part, attention_scratch& scratch,
            bool back) const;
  void weigh(const unit_place& unit, const attention_part& part, attention_scratch& scratch,
             const block& b) const;
  void block_back(const block& b, attention_scratch& scratch, const float* out_gradient,
                  std::size_t out_stride, float* query_gradient, std::size_t to_stride) const;
  void give(const unit_place& unit, const attention_part& part, attention_scratch& scratch,
            float* to, std::size_t to_stride, float* carried) const;
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
