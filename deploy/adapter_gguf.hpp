// A PEFT folder as a GGUF LoRA, for llama.cpp. Any thread; no cluster.
#pragma once

#include <filesystem>

#include "messages/result.hpp"

namespace collm::deploy {

/// `model`: the .gguf file or Hugging Face folder that the adapter was made for.
result<void> write_adapter_gguf(const std::filesystem::path& model,
                                const std::filesystem::path& peft_folder,
                                const std::filesystem::path& to);

}  // namespace collm::deploy
