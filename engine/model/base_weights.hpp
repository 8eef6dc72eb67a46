// Where each weight lies in a packed base: pointers into one image, bound by shape and precision
// alone. Views; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
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

/// Vectors are nullptr where the architecture has none.
struct layer_weights {
  const float *attention_norm = nullptr, *ffn_norm = nullptr;            ///< [hidden]
  const float *post_attention_norm = nullptr, *post_ffn_norm = nullptr;  ///< [hidden]
  const float *q_norm = nullptr, *k_norm = nullptr;                      ///< [head_dim]
  const float *q_bias = nullptr, *k_bias = nullptr, *v_bias = nullptr;   ///< [heads * head_dim]
  linear_weights products[matrices_count];
  const linear_weights& of(matrix m) const { return products[static_cast<std::size_t>(m)]; }
};

/// One vector of a layer: where it is bound, GGUF's name for it, and its size; 0: the model has
/// none.
struct layer_vector {
  const float* layer_weights::*at;
  const char* name;
  std::uint32_t (*size)(const model_shape&);
  bool norm;
};
std::span<const layer_vector> layer_vectors();

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

/// A tensor that fills some of a product's outputs, in their order.
struct product_part {
  std::string tensor;
  std::uint32_t rows = 0;
  bool rotary = false;  ///< rows may stand as rotary pairs (model_source.hpp)
};
std::vector<product_part> product_parts(const model_shape& shape, std::uint32_t layer, matrix m);

/// model_shape::four_bit of one product.
bool has_four_bits(const model_shape& s, std::uint32_t layer, matrix m);

/// Binds every pointer into `image` (row_alignment-aligned). `bytes`: size of the image. A null
/// image only measures.
base_weights bind_weights(const model_shape& shape, precision p, const std::uint8_t* image,
                          std::uint64_t& bytes);

}  // namespace collm::engine
