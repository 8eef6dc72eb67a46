// The decoder architectures that are built, as data: what sets one apart from Llama. Pure values;
// any thread.
#pragma once

#include <string>
#include <string_view>

#include "engine/engine.hpp"

namespace collm::engine {

struct architecture {
  const char* name;          ///< general.architecture of GGUF, and model_shape::architecture
  const char* hugging_face;  ///< model_type of config.json
  gate_kind gate;
  bool qkv_bias;                 ///< the q, k and v products add a bias
  bool head_norms;               ///< RMSNorm of every q and k head before the rotation
  bool post_norms;               ///< RMSNorm of what attention and FFN add to the residual
  bool scaled_embedding;         ///< embeddings enter times sqrt(hidden)
  bool interleaved_in_gguf;      ///< GGUF stores rotary pairs side by side (2i, 2i + 1)
  bool shifted_norms;            ///< Hugging Face stores norm gains minus one
  std::uint32_t window_pattern;  ///< every n-th layer sees all positions; 0: no layer has a window
};

/// nullptr: not built.
const architecture* architecture_named(std::string_view gguf_name);
const architecture* architecture_of_hugging_face(std::string_view model_type);
/// "llama, qwen2, ..."
std::string architecture_names();
std::string hugging_face_names();

/// Sets what the architecture decides; sizes stand already.
void apply(const architecture& a, model_shape& shape);

/// Where row `row` of q or k lies when rotary pairs stand side by side (2i, 2i + 1) in each head
/// and not apart (i, i + head_dim / 2).
std::uint32_t interleaved_row(std::uint32_t row, std::uint32_t head_dim);

/// Refuses, by the name of the field, sizes that no decoder here can have.
result<void> check_shape(const model_shape& shape);

}  // namespace collm::engine
