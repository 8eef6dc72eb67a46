// Where each weight lies in a packed base: pointers into one image, bound by shape and precision
// alone. Views; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.hpp"
#include "engine/kernels/kernels.hpp"

namespace collm::engine {

/// The products of a decoder layer, by their input: q, k, v rows are stacked in one matrix, gate
/// and up in another.
enum class matrix : std::uint8_t { qkv, o, gate_up, down };
inline constexpr std::size_t matrices_count = 4;

/// One product in either precision; `s8.in`, `s8.out` hold the shape in both.
struct linear_weights {
  linear_s8 s8;
  const float* f32 = nullptr;  ///< [out, in]; nullptr in int8
};

struct layer_weights {
  const float *attention_norm = nullptr, *ffn_norm = nullptr;  ///< [hidden]
  linear_weights products[matrices_count];
  const linear_weights& of(matrix m) const { return products[static_cast<std::size_t>(m)]; }
};

struct base_weights {
  std::vector<layer_weights> layers;
  const float* output_norm = nullptr;  ///< [hidden]
  linear_weights embedding;            ///< [vocab, hidden]
  linear_weights head;                 ///< the same memory as `embedding` when tied
};

/// Outlier columns that a product of `in` inputs keeps with 15 bits.
std::uint32_t outlier_columns(std::uint32_t in);

/// [out, in] of a product.
std::pair<std::uint32_t, std::uint32_t> product_shape(const model_shape& shape, matrix m);

/// Binds every pointer into `image` (row_alignment-aligned). `bytes`: size of the image. A null
/// image only measures.
base_weights bind_weights(const model_shape& shape, precision p, const std::uint8_t* image,
                          std::uint64_t& bytes);

}  // namespace collm::engine
