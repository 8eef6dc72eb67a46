// One forward pass of a decoder (model/architecture.cpp names those built) over rows of many
// sequences, each with its own adapter version, unmerged: y = x Wt + scale (x At) Bt. In int8 no
// row depends on which other rows are there (the bit law). Inside engine/ only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/engine.hpp"
#include "engine/phase_clock.hpp"
#include "engine/sample/logit_peak.hpp"

namespace collm::engine {

/// Whether a base of this precision keeps its keys and values in half precision.
inline bool kv_halves(precision p) { return p == precision::int8; }

/// Paged keys and values, numbers of float or half. Storage of one engine. Layout:
/// [layer][block][k or v][kv_head], then values [block_tokens][head_dim] but keys
/// [head_dim][block_tokens]: a block's scores are vectors over its positions. block_tokens is 16,
/// one lane each. Values of positions never written must be finite (zero the storage once).
struct kv_pages {
  std::uint8_t* data = nullptr;
  bool halves = false;
  std::uint32_t layers = 0, blocks = 0, kv_heads = 0, block_tokens = 16, head_dim = 0;
  std::size_t number_bytes() const { return halves ? 2 : 4; }
  /// Numbers of one block in one layer.
  std::size_t block_numbers() const { return std::size_t{2} * kv_heads * block_tokens * head_dim; }
  std::uint64_t bytes() const { return number_bytes() * block_numbers() * blocks * layers; }
  std::uint8_t* keys(std::uint32_t layer, std::uint32_t block) const {
    return data + (std::size_t{layer} * blocks + block) * block_numbers() * number_bytes();
  }
  std::uint8_t* values(std::uint32_t layer, std::uint32_t block) const {
    return keys(layer, block) + block_numbers() / 2 * number_bytes();
  }
};

/// Consecutive tokens of one sequence within a step.
struct segment {
  std::span<const std::int32_t> tokens;  ///< rows of this segment
  std::uint32_t position = 0;  ///< position of tokens[0]; KV of all earlier positions stands
  std::span<const std::uint32_t> blocks;  ///< block table; covers position + tokens.size()
  const adapter* with = nullptr;          ///< nullptr: base alone
  bool logits = false;                    ///< give logits of the last row
  bool all_logits = false;                ///< give logits of every row (evaluation)
};

class model {
 public:
  /// `threads`: OpenMP threads of forward(). `rows_max`: most rows of one call (sizes the workspace
  /// once).
  static std::unique_ptr<model> make(base_ptr b, std::uint32_t threads, std::uint32_t rows_max);
  virtual ~model() = default;
  /// Runs all segments; writes their KV. Returns logits [outputs, vocab] f32, rows in order of the
  /// segments that asked; valid until the next call.
  virtual std::span<const float> forward(std::span<const segment> segments, const kv_pages& kv) = 0;
  /// The peak of each row of logits that forward() returned last; valid until the next call.
  virtual std::span<const logit_peak> peaks() const = 0;
  virtual std::uint64_t activation_bytes() const = 0;
  /// From now on forward() tells its phases; nullptr: no more.
  virtual void watch(phase_clock* clock) = 0;
};

}  // namespace collm::engine
