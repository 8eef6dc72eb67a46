// What training needs beyond the serving kernels: the product back through the frozen int8 tiles,
// dense products of floats for LoRA and attention, and the derivatives of the steps around them.
// Same law as kernels.hpp: one fixed order of operations for each number, on every instruction
// path. Pure functions over caller's memory; any thread.
#pragma once

#include "engine/kernels/kernels.hpp"

namespace collm::engine {

/// Outputs that share one scale of a gradient row: each stretch of so many is quantised to its own
/// largest value, so the small gradients beside a large one keep their bits.
inline constexpr std::uint32_t stretch_outputs = 512,
                               stretch_groups = stretch_outputs / group_inputs;

constexpr std::uint32_t stretches(std::uint32_t out) {
  return (out + stretch_outputs - 1) / stretch_outputs;
}

/// Gradients of a product's outputs times the outputs' scales, in int8, biased by +128 as
/// activations are: panels [panel][group of 4 outputs][4 rows][4 outputs]. Outputs are padded to
/// whole tiles.
struct gradient_rows {
  std::uint8_t* bytes = nullptr;
  float* scale = nullptr;          ///< [rows][stretches(out)]
  std::size_t panel_stride = 0;    ///< bytes from panel to panel
  std::uint32_t scale_stride = 0;  ///< floats from row to row
};
/// Bytes of one panel for a product of `out` outputs.
constexpr std::size_t gradient_panel_bytes(std::uint32_t out) {
  return std::size_t{out + tile_outputs - 1} / tile_outputs * tile_outputs * panel_rows;
}

/// c[i][j] = (add ? c[i][j] : 0) + sum over k of a(i, k) b[k][j], k ascending, each step fused.
/// a(i, k) lies at a[i * a_row + k * a_column], so that either way round is read as it lies.
struct float_product {
  const float* a = nullptr;
  std::size_t a_row = 0, a_column = 1;
  const float* b = nullptr;
  std::size_t b_row = 0;
  float* c = nullptr;
  std::size_t c_row = 0;
  std::uint32_t rows = 0, depth = 0, columns = 0;
  bool add = false;
};

/// The decay and rates of one AdamW step (arXiv 1711.05101, algorithm 2), bias corrections
/// included.
struct adam_step {
  float beta1, beta2, epsilon;
  float decay;            ///< what a number keeps of itself: 1 - rate * weight decay
  float rate;             ///< rate / (1 - beta1^t)
  float root;             ///< 1 / sqrt(1 - beta2^t)
  float gradient_factor;  ///< clipping
};

/// What becomes of gradients below half a step of their stretch.
enum class tail : std::uint8_t {
  rounded,  ///< each to nearest: they vanish
  /// Their sum is kept, on one of them now and then. Of a softmax over a vocabulary the tail is
  /// much of the whole, though no part of it counts (without it 24 steps of LoRA ended 1.6 %
  /// above f32's losses).
  carried,
};

/// One instruction path. All paths give the same bytes.
struct training_table {
  const char* name;
  /// dy: [w.out] to row `row` of `to`.
  void (*quantise_gradient)(const float* dy, const linear_s8& w, const gradient_rows& to,
                            std::size_t row, tail of);
  /// dx[r][k] = sum over o of dy[r][o] scale[o] w[o][k] for r < rows, k in [first, last), `first` a
  /// multiple of 16; rows of dx are dx_stride apart. Reads the tiles that serving reads.
  void (*gemm_back)(const gradient_rows& dy, std::uint32_t rows, const linear_s8& w,
                    std::uint32_t first, std::uint32_t last, float* dx, std::size_t dx_stride);
  void (*product)(const float_product& p);
  /// dx += the derivative of rms_norm(x, gain) along dy
  void (*rms_norm_back)(const float* x, const float* gain, const float* dy, std::uint32_t n,
                        float epsilon, float* dx);
  /// dh: [n] along the output; gate and up become their own derivatives' values.
  void (*swiglu_back)(const float* dh, std::uint32_t n, float* gate, float* up);
  void (*geglu_back)(const float* dh, std::uint32_t n, float* gate, float* up);
  /// s[j] = exp(factor s[j] - largest) / sum for j in [first, last), 0 elsewhere in [0, n)
  void (*softmax)(float* s, std::uint32_t first, std::uint32_t last, std::uint32_t n, float factor);
  /// ds = factor p (ds - sum(p ds)), in place
  void (*softmax_back)(const float* p, std::uint32_t n, float factor, float* ds);
  /// Cross entropy of a row of logits against `target`, nats. Logits become weight * softmax.
  double (*cross_entropy)(float* logits, std::uint32_t n, std::uint32_t target, float weight);
  /// x *= factor
  void (*scale)(float factor, std::uint32_t n, float* x);
  /// y += factor x
  void (*add_scaled)(const float* x, float factor, std::uint32_t n, float* y);
  /// Sum of squares, in double.
  double (*squares)(const float* x, std::uint32_t n);
  void (*adam)(const adam_step& step, const float* gradient, std::uint32_t n, float* value,
               float* mean, float* square);
  /// To halves within their range: what is larger becomes the largest.
  void (*to_halves)(const float* x, std::uint32_t n, half* out);
  void (*from_halves)(const half* x, std::uint32_t n, float* out);
};

/// The path that kernels() chose.
const training_table& training_kernels();
/// In the order of kernel_paths().
std::span<const training_table* const> training_paths();

extern const training_table training_avx512, training_avx2, training_portable;

}  // namespace collm::engine
