#include "engine/train/saved_activations.hpp"

#include <cstring>
#include <numeric>

namespace collm::engine {

saved_activations::saved_activations(const model_shape& s, precision p, std::uint32_t ranks)
    : kernels_(training_kernels()),
      layers_(s.layers),
      hidden_(s.hidden),
      ranks_(ranks),
      halves_(p == precision::int8) {
  const std::uint32_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  widths_ = {q + 2 * kv,
             q,
             2 * s.ffn,
             s.head_norms ? q + kv : 0,
             s.post_norms ? s.hidden : 0,
             s.post_norms ? s.hidden : 0};
}

std::uint64_t saved_activations::bytes_for(std::uint32_t rows) const {
  const std::uint64_t kept = std::accumulate(widths_.begin(), widths_.end(), std::uint64_t{0});
  const std::uint64_t of_layer = (std::uint64_t{2} * hidden_ + ranks_) * sizeof(float) +
                                 kept * (halves_ ? sizeof(half) : sizeof(float));
  return (of_layer * layers_ + hidden_ * sizeof(float)) * rows;
}

void saved_activations::reserve(std::uint32_t rows) {
  if (rows <= rows_) return;
  rows_ = rows;
  residual_ = middle_ = t_ = {};  // never the old beside the new
  for (auto& kept : kept_) kept = {};
  const std::size_t places = std::size_t{layers_} * rows;
  residual_ = line_vector<float>((places + rows) * hidden_);
  middle_ = line_vector<float>(places * hidden_);
  t_ = line_vector<float>(places * ranks_);
  for (std::size_t k = 0; k < saved_rows_count; ++k)
    kept_[k] =
        line_vector<std::uint8_t>(places * widths_[k] * (halves_ ? sizeof(half) : sizeof(float)));
}

void saved_activations::keep(saved_row kind, std::uint32_t layer, std::uint32_t row,
                             const float* from) {
  const std::uint32_t n = width(kind);
  const std::size_t first = (std::size_t{layer} * rows_ + row) * n;
  auto* to = kept_[static_cast<std::size_t>(kind)].data();
  if (halves_)
    kernels_.to_halves(from, n, reinterpret_cast<half*>(to) + first);
  else
    std::memcpy(to + first * sizeof(float), from, n * sizeof(float));
}

void saved_activations::load(saved_row kind, std::uint32_t layer, std::uint32_t row,
                             std::uint32_t first, std::uint32_t n, float* to) const {
  const std::size_t at = (std::size_t{layer} * rows_ + row) * width(kind) + first;
  const auto* from = kept_[static_cast<std::size_t>(kind)].data();
  if (halves_)
    kernels_.from_halves(reinterpret_cast<const half*>(from) + at, n, to);
  else
    std::memcpy(to, from + at * sizeof(float), n * sizeof(float));
}

}  // namespace collm::engine
