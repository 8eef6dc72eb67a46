// The engine's own kernels: integer products and every float step around them, each with ONE fixed
// order of operations per row, so that a row's bytes depend neither on the other rows, nor on
// chunking, threads or the instruction path (the bit law). Pure functions over caller's memory; any
// thread. Not here: f32 reference products (libtorch, model/linear_f32.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace collm::engine {

/// Rows of a cache line; activation rows are padded to it.
inline constexpr std::size_t row_alignment = 64;
/// Most outlier columns of one product. Sums may wrap on their way; with at most so many columns
/// the result, without the bias, stays within 32 bits: 127 * 127 * (inputs_max + 128 *
/// hi_columns_max) < 2^31.
inline constexpr std::uint32_t hi_columns_max = 256;
/// Widest int8 product.
inline constexpr std::uint32_t inputs_max = 65536;
/// Tokens of one KV block: one float lane each, so a block of keys is read as vectors over
/// positions.
inline constexpr std::uint32_t block_positions = 16;

/// Weights lie in tiles of sixteen outputs, a tile's inputs in groups of four: [tile][group][16
/// outputs][4 inputs], what one VNNI instruction takes. A tile is one stream: first the groups of
/// its `hi` columns, whose inputs are outliers, then those of all inputs; missing outputs and
/// inputs are zeros.
inline constexpr std::uint32_t tile_outputs = 16, group_inputs = 4;
inline constexpr std::uint32_t group_bytes = tile_outputs * group_inputs;
/// Weights whose source has sixteen levels for 32 inputs may keep four bits each: a tile's groups
/// then lie as blocks of 32 inputs, [4][16 outputs][4 inputs] bytes whose low halves are groups 0
/// to 3 and whose high halves are groups 4 to 7, then 16 pairs (step, least) of 16-bit integers.
/// The int8 weight is the high byte of step * level + least, modulo 2^16: products see the same
/// bytes as if they were stored.
inline constexpr std::uint32_t four_bit_inputs = 32;
inline constexpr std::uint32_t four_bit_levels_bytes = tile_outputs * four_bit_inputs / 2;
inline constexpr std::uint32_t four_bit_block_bytes = four_bit_levels_bytes + 4 * tile_outputs;
/// Quantised rows lie in panels of four: [panel][group][4 rows][4 inputs].
inline constexpr std::uint32_t panel_rows = 4, panel_bytes = panel_rows * group_inputs;

/// Step and least value of one output's 32 inputs, in 1/256 of an int8 step.
struct four_bit_scale {
  std::uint16_t step, least;
  std::int8_t weight(std::uint32_t level) const {
    const auto sum = static_cast<std::uint16_t>(step * level + least);
    return static_cast<std::int8_t>(sum >> 8);
  }
};

/// Input k of 32 of output o of 16.
inline std::int8_t four_bit_weight(const std::int8_t* block, std::uint32_t o, std::uint32_t k) {
  const auto two = static_cast<std::uint8_t>(
      block[k / group_inputs % 4 * group_bytes + o * group_inputs + k % group_inputs]);
  four_bit_scale scale{};
  std::memcpy(&scale, block + four_bit_levels_bytes + o * sizeof scale, sizeof scale);
  return scale.weight(k < four_bit_inputs / 2 ? two & 15u : two >> 4);
}

/// A product's weights [out, in] in int8 tiles, one scale an output. Views only. y[o] = scale[o] *
/// x_scale * (sum w[o][k] lo[k] + 2^hi_shift sum w[o][hi_index[j]] hi[j]): 8 bits for ordinary
/// inputs, 15 for outliers. With hi == in every input has high bits, and no column lies twice.
struct linear_s8 {
  std::uint32_t in = 0, out = 0, hi = 0, hi_shift = 7;
  const std::int8_t* tiles = nullptr;
  const std::uint32_t* hi_index = nullptr;   ///< [hi], ascending
  const float* scale = nullptr;              ///< [out], padded to whole tiles
  const std::int32_t* correction = nullptr;  ///< [out], padded: what the +128 bias of lo and hi
                                             ///< adds to the integer sum

  bool four_bit = false;  ///< tiles hold blocks of four bits; in is then a multiple of 32

  bool whole() const { return hi == in; }
  std::uint32_t groups() const { return (in + group_inputs - 1) / group_inputs; }
  std::uint32_t hi_groups() const { return (hi + group_inputs - 1) / group_inputs; }
  /// Of a tile as it lies, and with all weights in bytes.
  std::size_t tile_bytes() const {
    return four_bit ? hi_bytes() + std::size_t{in} / four_bit_inputs * four_bit_block_bytes
                    : wide_tile_bytes();
  }
  std::size_t wide_tile_bytes() const { return std::size_t{groups()} * group_bytes + hi_bytes(); }
  std::uint32_t tiles_count() const { return (out + tile_outputs - 1) / tile_outputs; }
  const std::int8_t* tile(std::uint32_t index) const { return tiles + index * tile_bytes(); }
  /// Where the weight of output o and input k lies, unless it has four bits; of o's j-th outlier
  /// column.
  std::size_t at(std::uint32_t o, std::uint32_t k) const { return at_hi(o, k) + hi_bytes(); }
  std::size_t at_hi(std::uint32_t o, std::uint32_t j) const {
    return o / tile_outputs * tile_bytes() + std::size_t{j} / group_inputs * group_bytes +
           o % tile_outputs * group_inputs + j % group_inputs;
  }
  /// Where the block of four bits lies that has input k of output o.
  std::size_t at_block(std::uint32_t o, std::uint32_t k) const {
    return o / tile_outputs * tile_bytes() + hi_bytes() +
           std::size_t{k} / four_bit_inputs * four_bit_block_bytes;
  }
  std::int8_t weight(std::uint32_t o, std::uint32_t k) const {
    return four_bit ? four_bit_weight(tiles + at_block(o, k), o % tile_outputs, k % four_bit_inputs)
                    : tiles[at(o, k)];
  }
  /// Of a tile: its outlier columns' copies.
  std::size_t hi_bytes() const { return whole() ? 0 : std::size_t{hi_groups()} * group_bytes; }
};

/// Bits that the high parts of all inputs of a product can have without leaving 32 bits: 127 * 127
/// * 2^shift * in < 2^31; five are plenty.
constexpr std::uint32_t whole_shift(std::uint32_t in) {
  std::uint32_t shift = 5;
  while (shift > 0 && (std::uint64_t{127 * 127} << shift) * in >= 1ull << 31) --shift;
  return shift;
}

/// Quantised activations in panels: bytes biased by +128, because VNNI multiplies unsigned by
/// signed. The last panel has memory for all its rows, whatever lies in those that are none.
struct quantised_rows {
  std::uint8_t* lo = nullptr;
  std::uint8_t* hi = nullptr;
  float* scale = nullptr;                    ///< [rows]
  std::size_t lo_stride = 0, hi_stride = 0;  ///< bytes from panel to panel

  /// Where the first four inputs of a row lie; the next four `panel_bytes` on.
  std::uint8_t* lo_row(std::size_t row) const { return place(lo, lo_stride, row); }
  std::uint8_t* hi_row(std::size_t row) const { return place(hi, hi_stride, row); }

 private:
  static std::uint8_t* place(std::uint8_t* panels, std::size_t stride, std::size_t row) {
    return panels + row / panel_rows * stride + row % panel_rows * group_inputs;
  }
};

/// A half-precision number (IEEE 754 binary16) as stored.
enum class half : std::uint16_t {};

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
  bool halves = false;                    ///< keys and values are half, else float
  const void* keys = nullptr;             ///< block 0, this KV head: [head_dim][block_positions]
  const void* values = nullptr;           ///< block 0, this KV head: [block_positions][head_dim]
  std::size_t block_stride = 0;           ///< numbers from block to block
  float* scratch = nullptr;               ///< attention_scratch_floats()
  const attention_task* next = nullptr;   ///< the same thread's next one, whose pages may be asked
                                          ///< for; nullptr: none
  /// The first block that any row sees.
  std::uint32_t first_block() const {
    return window == 0 || position + 1 < window ? 0 : (position + 1 - window) / block_positions;
  }
  std::uint32_t blocks_seen() const { return (position + rows - 1) / block_positions + 1; }
};
inline constexpr std::uint32_t attention_queries = 8;  ///< most (row, head) pairs together
std::size_t attention_scratch_floats(std::uint32_t positions, std::uint32_t head_dim);

/// One instruction path. All paths give the same bytes.
struct kernel_table {
  const char* name;
  /// x: [in] to row `row` of `to`; outlier channels get 15 bits. x is changed meanwhile, and
  /// restored.
  void (*quantise)(float* x, const linear_s8& shape, const quantised_rows& to, std::size_t row);
  /// y[r][o] for r < rows, o in [first, last), `first` at a tile; rows of y are y_stride apart.
  void (*gemm)(const quantised_rows& x, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
               std::uint32_t last, float* y, std::size_t y_stride);
  /// The weights of one output times `factor`: [in].
  void (*dequantise_row)(const linear_s8& w, std::uint32_t o, float factor, float* out);
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
  void (*lora_down)(const float* x, const half* a, std::uint32_t in, std::uint32_t rank,
                    float scale, float* t);
  /// y[o] += sum_j t[j] bt[j][o] for o in [first, last); bt: [rank, out]
  void (*lora_up)(const float* t, const half* bt, std::uint32_t rank, std::uint32_t out,
                  std::uint32_t first, std::uint32_t last, float* y);
  void (*attend)(const attention_task& task);
  /// To the nearest half, ties to even.
  void (*to_halves)(const float* x, std::uint32_t n, half* out);
  /// exp as the softmax and sigmoid above use it; 0 below -87.
  void (*exponential)(const float* x, std::uint32_t n, float* out);
  /// The largest of x; finite: whether none is NaN or infinite (with NaN the largest means
  /// nothing).
  float (*peak)(const float* x, std::uint32_t n, bool* finite);
};

/// Memory of this thread, until its next call, for tiles and rows that are made wide.
std::int8_t* wide_tiles_scratch(std::size_t bytes);

/// The fastest path of this machine; chosen once. COLLM_KERNELS=avx2 or portable forces a slower
/// one (tests, measurements).
const kernel_table& kernels();
/// Every path that this machine can run, fastest first.
std::span<const kernel_table* const> kernel_paths();

}  // namespace collm::engine
