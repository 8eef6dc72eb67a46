// PEFT folders in and out: module names, tensor names, shapes. Inside engine/ and its tests only;
// load_peft of engine.hpp is the way in for everybody else.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "engine/adapter/adapter.hpp"

namespace collm::engine {

/// "model.layers.3.self_attn.q_proj"
std::string module_name(std::uint32_t layer, target t);

/// The two files of a folder as bytes. A bad one is refused with the tensor's name and what would
/// be right.
result<adapter_ptr> read_peft(const model_shape& shape, std::string_view config,
                              std::span<const std::uint8_t> tensors);
result<adapter_ptr> load_peft(const model_shape& shape, const std::filesystem::path& folder);

/// Writes both files, f32; load_peft and PEFT read back the very same factors. Creates the folder.
result<void> save_peft(const adapter& from, const std::string& base_name,
                       const std::filesystem::path& folder);

/// Ends the making of factors: prepares every pair for serving; fills digest, rank_max and bytes.
void seal(adapter& a);

}  // namespace collm::engine
