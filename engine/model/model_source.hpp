// Where a base comes from: a .gguf file, or a Hugging Face folder. Either gives its tensors by
// GGUF's names; the layout says in which order and form the numbers stand. Any thread.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "engine/engine.hpp"
#include "engine/model/gguf.hpp"

namespace collm::engine {

/// What packing turns into one form.
struct tensor_layout {
  bool interleaved_rotary = false;  ///< q and k rows: rotary pairs side by side
  float norm_shift = 0;             ///< added to every norm's gain
  /// Scores are q k / sqrt(head_dim); what else the model multiplies them by goes into q's norm.
  float query_factor = 1;
};

class model_source {
 public:
  /// A .gguf file or a folder with config.json, tokenizer.json and *.safetensors.
  static result<std::shared_ptr<const model_source>> open(const std::filesystem::path& path);
  virtual ~model_source() = default;
  virtual std::string sha256() const = 0;  ///< hex digest of all that the base is made from
  /// Refuses an unknown architecture by name.
  virtual result<model_shape> shape() const = 0;
  virtual result<text::vocabulary> vocabulary() const = 0;
  virtual const std::map<std::string, gguf_tensor>& tensors() const = 0;
  virtual tensor_layout layout() const = 0;
};

}  // namespace collm::engine
