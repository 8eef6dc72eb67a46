// What a chunk of an answer takes of a buffer that is bounded in tokens.
#pragma once

#include <algorithm>
#include <cstdint>

#include "messages/inference.capnp.h"
#include "messages/msg.hpp"

namespace collm {

/// Its tokens; a chunk without any is not free.
inline std::uint32_t weight_of(const msg<schema::TokenChunk>& chunk) {
  return std::max<std::uint32_t>(chunk.read()->getTokens().size(), 1);
}

}  // namespace collm
