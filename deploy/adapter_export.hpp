// Factors of a version as a PEFT folder or a GGUF LoRA, for tools outside. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "deploy/plan.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

struct export_target {
  std::filesystem::path peft_folder;  ///< empty: not wanted
  std::filesystem::path gguf_file;    ///< empty: not wanted
};

/// `factors`: little-endian floats by layer, then target, A before B (messages/adaptation.capnp).
/// Rank, alpha and targets are the plan's; bad_request: the bytes are those of another shape.
result<void> export_adapter(const spawn_plan& plan, const std::string& adapter,
                            std::span<const std::uint8_t> factors, const export_target& to);

}  // namespace collm::deploy
