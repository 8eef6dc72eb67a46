// The largest logit of a row, gathered piece by piece while the head's products still lie in the
// cache: a greedy token needs no other look at the row. Exact in any division into pieces.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "engine/kernels/kernels.hpp"

namespace collm::engine {

struct logit_peak {
  float most = -std::numeric_limits<float>::infinity();
  std::int32_t at = 0;   ///< the first token that has it
  bool suspect = false;  ///< NaN or an infinity was met: the row itself says which

  /// The logits of tokens [first, first + part.size()); pieces come in ascending order.
  void take(std::span<const float> part, std::int32_t first) {
    bool finite = true;
    const float top = kernels().peak(part.data(), static_cast<std::uint32_t>(part.size()), &finite);
    suspect |= !finite;
    if (!(top > most)) return;
    most = top;
    at = first + static_cast<std::int32_t>(std::ranges::find(part, top) - part.begin());
  }
  /// What was gathered of later tokens.
  void take(const logit_peak& later) {
    suspect |= later.suspect;
    if (later.most > most) most = later.most, at = later.at;
  }
};

inline logit_peak peak_of(std::span<const float> logits) {
  logit_peak peak;
  peak.take(logits, 0);
  return peak;
}

}  // namespace collm::engine
