// What the ledger assumes about the engine and the system; each says where it comes from. Inside
// deploy/ only.
#pragma once

#include <cstdint>

namespace collm::deploy::rates {

/// Spelling, type and merge of one token in the packed file: 19 measured for SmolLM2.
inline constexpr std::uint64_t vocabulary_bytes = 20;
/// Text, ids and message frame of one token that waits for a slow reader.
inline constexpr std::uint64_t token_bytes = 128;
/// One connection's own read and write buffers.
inline constexpr std::uint64_t socket_bytes = 16 << 10;
/// Code, tokenizer, thread stacks and heap of an idle head or node, resident and private.
inline constexpr std::uint64_t process_bytes = 96ull << 20;

}  // namespace collm::deploy::rates
