#include "engine/train/workspace.hpp"

#include <algorithm>

#include "engine/model/base_weights.hpp"

namespace collm::engine {
namespace {

std::size_t padded(std::size_t n) {
  return (n + row_alignment - 1) / row_alignment * row_alignment;
}

/// Widths of one model and rows of one unit.
struct sizes {
  sizes(const model_shape& s, precision p, const training_options& options)
      : rows(options.window_tokens),
        panels((rows + panel_rows - 1) / panel_rows),
        head_rows(options.head_tokens),
        head_panels((head_rows + panel_rows - 1) / panel_rows),
        int8(p == precision::int8) {
    const std::uint32_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    in = std::max({s.hidden, s.ffn, q});
    out = std::max({q + 2 * kv, 2 * s.ffn, s.hidden});
    hi = std::max(s.ffn, outlier_columns(in));
  }
  std::size_t rows, panels, head_rows, head_panels;
  std::uint32_t in, out, hi;
  bool int8;
};

}  // namespace

workspace::workspace(const model_shape& s, precision p, const training_options& options,
                     std::uint32_t ranks)
    : input_stride(0), wide_stride(0), flow_stride(s.hidden), t_stride(ranks), logits_stride(0) {
  const sizes n(s, p, options);
  input_stride = padded(n.in);
  wide_stride = padded(n.out);
  logits_stride = padded(s.vocab);
  input_.resize(std::max(n.rows, n.head_rows) * input_stride);
  input_gradient_.resize(input_.size());
  wide_.resize(n.rows * wide_stride);
  wide_gradient_.resize(n.rows * wide_stride);
  flow_.resize(n.rows * flow_stride);
  t_gradient_.resize(n.rows * t_stride);
  logits_.resize(n.head_rows * logits_stride);
  if (!n.int8) return;
  const std::size_t panels = std::max(n.panels, n.head_panels);
  quantised.lo_stride = panel_rows * padded(n.in);
  quantised.hi_stride = panel_rows * padded(n.hi);
  quantised_bytes_.resize(panels * (quantised.lo_stride + quantised.hi_stride));
  row_scales_.resize(panels * panel_rows);
  quantised.lo = quantised_bytes_.data();
  quantised.hi = quantised.lo + panels * quantised.lo_stride;
  quantised.scale = row_scales_.data();
  const auto gradients_of = [](std::uint32_t out, std::size_t count,
                               line_vector<std::uint8_t>& bytes, line_vector<float>& scales) {
    gradient_rows g;
    g.panel_stride = gradient_panel_bytes(out);
    g.scale_stride = stretches(out);
    bytes.resize(count * g.panel_stride);
    scales.resize(count * panel_rows * g.scale_stride);
    g.bytes = bytes.data();
    g.scale = scales.data();
    return g;
  };
  gradients = gradients_of(n.out, n.panels, gradient_bytes_, gradient_scales_);
  head_gradients = gradients_of(s.vocab, n.head_panels, head_bytes_, head_scales_);
}

std::uint64_t workspace::bytes_for(const model_shape& s, precision p,
                                   const training_options& options, std::uint32_t ranks) {
  const sizes n(s, p, options);
  const std::size_t in_rows = std::max(n.rows, n.head_rows);
  std::uint64_t floats = 2 * in_rows * padded(n.in) + 2 * n.rows * padded(n.out) +
                         n.rows * (s.hidden + ranks) + n.head_rows * padded(s.vocab);
  if (!n.int8) return floats * sizeof(float);
  const std::size_t panels = std::max(n.panels, n.head_panels);
  floats +=
      panel_rows * (panels + n.panels * stretches(n.out) + n.head_panels * stretches(s.vocab));
  return floats * sizeof(float) + panels * panel_rows * (padded(n.in) + padded(n.hi)) +
         n.panels * gradient_panel_bytes(n.out) + n.head_panels * gradient_panel_bytes(s.vocab);
}

std::uint64_t workspace::bytes() const {
  const std::size_t floats = input_.size() + wide_.size() + input_gradient_.size() +
                             wide_gradient_.size() + flow_.size() + t_gradient_.size() +
                             logits_.size() + row_scales_.size() + gradient_scales_.size() +
                             head_scales_.size();
  return floats * sizeof(float) + quantised_bytes_.size() + gradient_bytes_.size() +
         head_bytes_.size();
}

}  // namespace collm::engine
