// Adapters as GGUF, for llama.cpp's --lora: general.type "adapter", adapter.type "lora", a pair
// <tensor>.lora_a, <tensor>.lora_b for every target, f32. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "engine/adapter/adapter.hpp"

namespace collm::engine {

/// The whole file. llama.cpp scales every pair by adapter.lora.alpha / rank; a pair with a scale of
/// its own has the difference in its B. q and k rows in the architecture's GGUF order.
result<std::vector<std::uint8_t>> gguf_lora_bytes(const adapter& from, const model_shape& shape);

result<void> save_gguf_lora(const adapter& from, const model_shape& shape,
                            const std::filesystem::path& file);

}  // namespace collm::engine
