#include "engine/train/attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace collm::engine {
namespace {

constexpr std::uint32_t block_rows = 32;  // scores of a block stay in the second cache

std::size_t padded_tokens(std::uint32_t tokens) { return (std::size_t{tokens} + 15) / 16 * 16; }

/// Where rows [first, end) are cut if row p costs p: both sides cost the same.
std::uint32_t same_work(std::uint32_t first, std::uint32_t end) {
  const double a = first, b = end;
  return static_cast<std::uint32_t>(std::lround(std::sqrt((a * a + b * b) / 2)));
}

/// to[d][i] = from[i][d]; some rows at a time: a whole column of `to` falls into few cache sets.
void turn(const float* from, std::uint32_t rows, std::uint32_t dim, float* to, std::size_t stride) {
  constexpr std::uint32_t some = 16;
  for (std::uint32_t first = 0; first < rows; first += some) {
    const std::uint32_t last = std::min(first + some, rows);
    for (std::uint32_t d = 0; d < dim; ++d)
      for (std::uint32_t i = first; i < last; ++i)
        to[d * stride + i] = from[std::size_t{i} * dim + d];
  }
}

}  // namespace

/// Queries [first, last) of one head, and the keys [0, last) that they may see.
struct training_attention::block {
  std::uint32_t head, first, last;
  std::uint32_t rows() const { return last - first; }
};

std::uint32_t attention_slices(const model_shape& shape) {
  constexpr std::uint32_t many_heads = 8;  // they alone divide well enough
  return shape.kv_heads < many_heads ? 2 : 1;
}

std::vector<attention_part> attention_parts(const unit_place& unit, const model_shape& shape) {
  std::vector<attention_part> parts;
  const std::uint32_t from = unit.window.first, to = from + unit.window.count;
  for (const auto& s : unit.pass->samples) {
    const std::uint32_t begin = std::max(from, s.first), stop = std::min(to, s.first + s.count);
    if (begin >= stop) continue;
    const std::uint32_t first = begin - s.first, end = stop - s.first;
    const bool whole = attention_slices(shape) == 1;
    const std::uint32_t middle = whole ? end : same_work(first, end);
    for (std::uint32_t h = 0; h < shape.kv_heads; ++h) {
      parts.push_back({s, h, 0, first, middle, end});
      if (!whole) parts.push_back({s, h, 1, middle, end, end});
    }
  }
  return parts;
}

attention_scratch::attention_scratch(const model_shape& shape, std::uint32_t sample_tokens)
    : turned_stride_(padded_tokens(sample_tokens)),
      memory_(bytes_for(shape, sample_tokens) / sizeof(float)) {
  const std::size_t numbers = turned_stride_ * shape.head_dim;
  float* at = memory_.data();
  for (float** p : {&keys_, &turned_keys_, &turned_values_, &values_}) *p = at, at += numbers;
  queries_ = at;
  weights_ = queries_ + std::size_t{block_rows} * shape.head_dim;
  score_gradients_ = weights_ + block_rows * turned_stride_;
}

std::uint64_t attention_scratch::bytes_for(const model_shape& shape, std::uint32_t sample_tokens) {
  const std::size_t tokens = padded_tokens(sample_tokens);
  return (4 * tokens * shape.head_dim + std::size_t{block_rows} * (shape.head_dim + 2 * tokens)) *
         sizeof(float);
}

void training_attention::load(const unit_place& unit, const attention_part& part,
                              attention_scratch& scratch, bool back) const {
  const std::uint32_t dim = shape_.head_dim, keys = shape_.heads * dim + part.kv_head * dim,
                      values = keys + shape_.kv_heads * dim;
  for (std::uint32_t p = 0; p < part.last; ++p) {
    const std::uint32_t row = part.sample.first + p;
    const std::size_t at = std::size_t{p} * dim;
    saved_.load(saved_row::qkv, unit.layer, row, keys, dim, scratch.keys_ + at);
    saved_.load(saved_row::qkv, unit.layer, row, values, dim, scratch.values_ + at);
  }
  turn(scratch.keys_, part.last, dim, scratch.turned_keys_, scratch.turned_stride_);
  if (back) turn(scratch.values_, part.last, dim, scratch.turned_values_, scratch.turned_stride_);
}

/// Loads the block's queries and computes their attention weights.
void training_attention::weigh(const unit_place& unit, const attention_part& part,
                               attention_scratch& scratch, const block& b) const {
  const std::uint32_t dim = shape_.head_dim;
  for (std::uint32_t p = b.first; p < b.last; ++p)
    saved_.load(saved_row::qkv, unit.layer, part.sample.first + p, b.head * dim, dim,
                scratch.queries_ + std::size_t{p - b.first} * dim);
  kernels_.product({.a = scratch.queries_,
                    .a_row = dim,
                    .b = scratch.turned_keys_,
                    .b_row = scratch.turned_stride_,
                    .c = scratch.weights_,
                    .c_row = scratch.turned_stride_,
                    .rows = b.rows(),
                    .depth = dim,
                    .columns = b.last});
  const float factor = 1.0f / std::sqrt(static_cast<float>(dim));
  for (std::uint32_t p = b.first; p < b.last; ++p)
    kernels_.softmax(scratch.weights_ + (p - b.first) * scratch.turned_stride_,
                     oldest(unit.layer, p), p + 1, b.last, factor);
}

void training_attention::forward(const unit_place& unit, const attention_part& part,
                                 attention_scratch& scratch, float* out,
                                 std::size_t out_stride) const {
  if (part.first == part.last) return;
  load(unit, part, scratch, false);
  const std::uint32_t dim = shape_.head_dim, group = shape_.heads / shape_.kv_heads;
  for (std::uint32_t head = part.kv_head * group; head < (part.kv_head + 1) * group; ++head)
    for (std::uint32_t first = part.first; first < part.last; first += block_rows) {
      const block b{head, first, std::min(first + block_rows, part.last)};
      weigh(unit, part, scratch, b);
      const std::uint32_t row = part.sample.first + first - unit.window.first;
      kernels_.product({.a = scratch.weights_,
                        .a_row = scratch.turned_stride_,
                        .b = scratch.values_,
                        .b_row = dim,
                        .c = out + row * out_stride + std::size_t{head} * dim,
                        .c_row = out_stride,
                        .rows = b.rows(),
                        .depth = b.last,
                        .columns = dim});
    }
}

/// P stands. dP = dO Vt; dS = softmax's derivative; dQ = dS K; dK += dSt Q; dV += Pt dO.
void training_attention::block_back(const block& b, attention_scratch& scratch,
                                    const float* out_gradient, std::size_t out_stride,
                                    float* query_gradient, std::size_t to_stride,
                                    float* key_gradients) const {
  const std::uint32_t dim = shape_.head_dim, keys = shape_.kv_heads * dim;
  const std::size_t stride = scratch.turned_stride_;
  kernels_.product({.a = out_gradient,
                    .a_row = out_stride,
                    .b = scratch.turned_values_,
                    .b_row = stride,
                    .c = scratch.score_gradients_,
                    .c_row = stride,
                    .rows = b.rows(),
                    .depth = dim,
                    .columns = b.last});
  kernels_.product({.a = scratch.weights_,
                    .a_row = 1,
                    .a_column = stride,
                    .b = out_gradient,
                    .b_row = out_stride,
                    .c = key_gradients + keys,
                    .c_row = std::size_t{2} * keys,
                    .rows = b.last,
                    .depth = b.rows(),
                    .columns = dim,
                    .add = true});
  const float factor = 1.0f / std::sqrt(static_cast<float>(dim));
  for (std::uint32_t i = 0; i < b.rows(); ++i)
    kernels_.softmax_back(scratch.weights_ + i * stride, b.last, factor,
                          scratch.score_gradients_ + i * stride);
  kernels_.product({.a = scratch.score_gradients_,
                    .a_row = stride,
                    .b = scratch.keys_,
                    .b_row = dim,
                    .c = query_gradient,
                    .c_row = to_stride,
                    .rows = b.rows(),
                    .depth = b.last,
                    .columns = dim});
  kernels_.product({.a = scratch.score_gradients_,
                    .a_row = 1,
                    .a_column = stride,
                    .b = scratch.queries_,
                    .b_row = dim,
                    .c = key_gradients,
                    .c_row = std::size_t{2} * keys,
                    .rows = b.last,
                    .depth = b.rows(),
                    .columns = dim,
                    .add = true});
}

void training_attention::back(const unit_place& unit, const attention_part& part,
                              attention_scratch& scratch, const float* out_gradient,
                              std::size_t out_stride, float* to, std::size_t to_stride,
                              key_value_gradients& left) const {
  const std::uint32_t dim = shape_.head_dim, group = shape_.heads / shape_.kv_heads,
                      keys = shape_.kv_heads * dim;
  float* key_gradients = left.of(part.slice, part.sample.first) + std::size_t{part.kv_head} * dim;
  for (std::uint32_t p = 0; p < part.end; ++p) {
    float* of_row = key_gradients + p * left.width();
    std::fill_n(of_row, dim, 0.0f);
    std::fill_n(of_row + keys, dim, 0.0f);
  }
  if (part.first == part.last) return;
  load(unit, part, scratch, true);
  for (std::uint32_t head = part.kv_head * group; head < (part.kv_head + 1) * group; ++head)
    for (std::uint32_t first = part.first; first < part.last; first += block_rows) {
      const block b{head, first, std::min(first + block_rows, part.last)};
      weigh(unit, part, scratch, b);
      const std::size_t row = part.sample.first + first - unit.window.first,
                        column = std::size_t{head} * dim;
      block_back(b, scratch, out_gradient + row * out_stride + column, out_stride,
                 to + row * to_stride + column, to_stride, key_gradients);
    }
}

}  // namespace collm::engine
