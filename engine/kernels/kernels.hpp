// The engine's own kernels: integer products and every float step around them, each with ONE fixed
// order of operations per row, so that a row's bytes depend neither on the other rows, nor on
// chunking, threads or the instruction path (the bit law). Pure functions over caller's memory; any
// thread. Not here: f32 reference products (libtorch, model/linear_f32.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace collm::engine {

/// Rows of a cache line; activation rows are padded to it.
inline constexpr std::size_t row_alignment = 64;
/// Most outlier columns of one product: keeps the integer sums far from 32 bits.
inline constexpr std::uint32_t hi_columns_max = 256;
/// Widest int8 product: 255 * 127 * inputs_max + 128 * 255 * 127 * hi_columns_max < 2^31.
inline constexpr std::uint32_t inputs_max = 32768;
/// Tokens of one KV block: one float lane each, so a block of keys is read as vectors over
/// positions.
inline constexpr std::uint32_t block_positions = 16;

/// Weights [out, in] int8, one scale an output row, and a second copy of the `hi` columns whose
/// inputs are outliers. Views only. y[o] = scale[o] * x_scale * (sum w[o][k] lo[k] + 128 sum
/// w_hi[o][j] hi[j]): 8 bits for ordinary inputs, 15 for outliers.
struct linear_s8 {
  std::uint32_t in = 0, out = 0, hi = 0;
  const std::int8_t* w = nullptr;           ///< [out, in]
  const std::int8_t* w_hi = nullptr;        ///< [out, hi]: columns hi_index of w
  const std::uint32_t* hi_index = nullptr;  ///< [hi], ascending
  const float* scale = nullptr;             ///< [out]
  const std::int32_t* correction =
      nullptr;  ///< [out]: what the +128 bias of lo and hi adds to the integer sum
};

/// Quantised activations of consecutive rows: bytes biased by +128, because VNNI multiplies
/// unsigned by signed.
struct quantised_rows {
  std::uint8_t* lo = nullptr;  ///< [rows, lo_stride]
  std::uint8_t* hi = nullptr;  ///< [rows, hi_stride]
  float* scale = nullptr;      ///< [rows]
  std::size_t lo_stride = 0, hi_stride = 0;
};

/// Attention of `rows` consecutive rows of one sequence for one KV head and its `group` query
/// heads.
struct attention_task {
  const float* q = nullptr;  ///< first row, first query head of the group; rows `q_stride` apart,
                             ///< heads head_dim apart
  float* out = nullptr;      ///< same shape as q, `out_stride` apart
  std::size_t q_stride = 0, out_stride = 0;
  std::uint32_t rows = 0, group = 0, head_dim = 0;
  std::uint32_t position = 0;  ///< of the first row; a row attends to itself and all before
  std::uint32_t window = 0;    ///< positions that a row sees, its own included; 0: all
  const std::uint32_t* blocks = nullptr;  ///< block table
  const float* keys = nullptr;            ///< block 0, this KV head: [head_dim][block_positions]
  const float* values = nullptr;          ///< block 0, this KV head: [block_positions][head_dim]
  std::size_t block_stride = 0;           ///< floats from block to block
  float* scratch = nullptr;               ///< attention_scratch_floats()
};
inline constexpr std::uint32_t attention_queries = 8;  ///< (row, head) pairs computed together
std::size_t attention_scratch_floats(std::uint32_t positions, std::uint32_t head_dim);

/// Panels of sixteen rows that gemm packs at once: 128 rows of 1536 inputs are 200 KiB, which stay
/// in a core's second cache.
inline constexpr std::uint32_t gemm_panels_max = 8;
/// Bytes of scratch that gemm needs for an input of `in` and `hi` columns.
std::size_t gemm_scratch_bytes(std::uint32_t in, std::uint32_t hi);

/// One instruction path. All paths give the same bytes.
struct kernel_table {
  const char* name;
  /// x: [in] to row `row` of `to`; outlier channels get 15 bits.
  void (*quantise)(const float* x, const linear_s8& shape, const quantised_rows& to,
                   std::size_t row);
  /// y[r][o] for r < rows, o in [first, last); rows of y are y_stride apart.
  void (*gemm)(const quantised_rows& x, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
               std::uint32_t last, float* y, std::size_t y_stride, std::uint8_t* scratch);
  void (*dequantise_row)(const std::int8_t* w, float scale, std::uint32_t n, float* out);
  /// out = x / sqrt(mean(x^2) + epsilon) * gain
  void (*rms_norm)(const float* x, const float* gain, std::uint32_t n, float epsilon, float* out);
  /// Rotates one head in place, Hugging Face's order: pairs (i, i + n/2). cosines, sines: [n/2].
  void (*rotate)(float* head, const float* cosines, const float* sines, std::uint32_t n);
  /// out = gate * sigmoid(gate) * up
  void (*swiglu)(const float* gate, const float* up, std::uint32_t n, float* out);
  /// out = gelu(gate) * up, gelu by tanh as Gemma has it (arXiv 1606.08415, section 2)
  void (*geglu)(const float* gate, const float* up, std::uint32_t n, float* out);
  /// x += y
  void (*add)(const float* y, std::uint32_t n, float* x);
  /// t[j] = scale * dot(x, a[j]); a: [rank, in]
  void (*lora_down)(const float* x, const float* a, std::uint32_t in, std::uint32_t rank,
                    float scale, float* t);
  /// y[o] += sum_j t[j] bt[j][o] for o in [first, last); bt: [rank, out]
  void (*lora_up)(const float* t, const float* bt, std::uint32_t rank, std::uint32_t out,
                  std::uint32_t first, std::uint32_t last, float* y);
  void (*attend)(const attention_task& task);
  /// exp as the softmax and sigmoid above use it; 0 below -87.
  void (*exponential)(const float* x, std::uint32_t n, float* out);
};

/// The fastest path of this machine; chosen once. COLLM_KERNELS=avx2 or portable forces a slower
/// one (tests, measurements).
const kernel_table& kernels();
/// Every path that this machine can run, fastest first.
std::span<const kernel_table* const> kernel_paths();

}  // namespace collm::engine
