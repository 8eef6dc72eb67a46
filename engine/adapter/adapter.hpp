// LoRA factors of one immutable adapter version: y += scale (x At) Bt for the target layers.
// Inside engine/ only.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "engine/kernels/kernels.hpp"

namespace collm::engine {

enum class target : std::uint8_t { q, k, v, o, gate, up, down };
inline constexpr std::size_t targets_count = 7;
inline constexpr std::array<const char*, targets_count> target_names = {"q",    "k",  "v",   "o",
                                                                        "gate", "up", "down"};

/// One target matrix. A: [rank, in], B: [out, rank], f32, row-major. rank 0: not adapted.
struct lora_pair {
  std::uint32_t rank = 0, in = 0, out = 0;
  float scale = 0;  ///< alpha/rank, or alpha/sqrt(rank) with rsLoRA
  std::vector<float> a, b;
  /// What int8 bases serve: A as it lies and B transposed, [rank, out], each in half precision and
  /// times a power of two that lets neither end of a half's range matter. Many versions in one
  /// batch read their factors from memory, so their bytes are what they cost. Made by prepare(),
  /// which every maker of factors calls last (the forward pass asserts it).
  std::vector<half> served_a = {}, served_bt = {};
  float served_unit = 1;  ///< what both powers of two take back
  float served_scale() const { return scale * served_unit; }
  void prepare();
};

class adapter {
 public:
  std::vector<std::array<lora_pair, targets_count>> layers;  ///< [layer][target]
  std::string digest;                                        ///< sha256 hex over config and tensors
  std::uint32_t rank_max = 0;
  std::uint64_t bytes = 0;
};

/// The same version with the first `rank` directions of each pair, scales as they are: what a
/// client of a smaller rank starts from. 0, or a rank that all pairs are within: itself.
adapter_ptr first_directions(const adapter_ptr& whole, std::uint32_t rank);

/// [out, in] of target `t` in a model of this shape.
std::pair<std::uint32_t, std::uint32_t> target_shape(const model_shape& shape, target t);

}  // namespace collm::engine
