// adapter_config.json of a PEFT LoRA folder, reduced to what the factors mean. What PEFT can train
// and this engine does not compute is refused by name, never ignored. Pure values; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "messages/result.hpp"

namespace collm::engine {

inline constexpr std::uint32_t rank_max = 512;
inline constexpr std::uint32_t alpha_max = 1'000'000'000;  ///< far beyond, the scale is infinite

struct peft_config {
  std::uint32_t rank = 8;  ///< PEFT's default
  double alpha = 8;        ///< PEFT's default
  bool rank_stabilised = false;
  /// Name ends of adapted modules, as PEFT matches them. Empty: the config gives a pattern, and the
  /// tensors tell.
  std::vector<std::string> targets;
  std::vector<std::string> excluded;  ///< name ends that are not adapted after all
  std::vector<std::uint32_t> layers;  ///< layers_to_transform; empty: all
  std::vector<std::pair<std::string, std::uint32_t>> rank_pattern;  ///< first match wins
  std::vector<std::pair<std::string, double>> alpha_pattern;

  /// `module`: "model.layers.0.self_attn.q_proj"
  bool adapts(std::uint32_t layer, std::string_view module) const;
  std::uint32_t rank_of(std::string_view module) const;
  float scale_of(std::string_view module) const;
};

result<peft_config> parse_peft_config(std::string_view text);

}  // namespace collm::engine
