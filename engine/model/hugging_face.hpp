// Hugging Face folders as a model source: config.json, model.safetensors or its shards by
// model.safetensors.index.json, tokenizer.json. Tensors get GGUF's names. Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/model/architecture.hpp"
#include "engine/model/model_source.hpp"

namespace collm::engine {

/// What config.json says.
struct hugging_face_config {
  const architecture* kind = nullptr;
  model_shape shape;         ///< vocab as configured
  std::optional<bool> tied;  ///< absent: the tensors tell
  float query_factor = 1;
};

/// Refuses by the key's name what is missing, out of range or not built.
result<hugging_face_config> parse_hugging_face_config(std::string_view text);

/// "model.layers.3.self_attn.q_proj.weight" to "blk.3.attn_q.weight"; empty: no tensor of a
/// decoder.
std::string gguf_tensor_name(const architecture& kind, std::string_view hugging_face);

result<std::shared_ptr<const model_source>> open_hugging_face(const std::filesystem::path& folder);

}  // namespace collm::engine
