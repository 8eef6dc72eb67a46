// What the ledger assumes about the engine and the system; each says where it comes from. Inside
// deploy/ only.
#pragma once

#include <cstdint>

namespace collm::deploy::rates {

/// int8 keeps one input column in so many a second time for outliers, in whole steps
/// (engine/model/base_weights.cpp).
inline constexpr std::uint64_t outlier_share = 16, outlier_step = 16, outliers_max = 256;
/// Spelling, type and merge of one token in the packed file: 19 measured for SmolLM2.
inline constexpr std::uint64_t vocabulary_bytes = 20;
/// An int8 row's scale and its correction for the activations' bias.
inline constexpr std::uint64_t row_constants = 8;
/// Query rows whose attention scores one thread holds at once (engine/kernels).
inline constexpr std::uint64_t attention_queries = 8;
/// Text, ids and message frame of one token that waits for a slow reader.
inline constexpr std::uint64_t token_bytes = 128;
/// One connection's own read and write buffers.
inline constexpr std::uint64_t socket_bytes = 16 << 10;
/// Code, tokenizer, thread stacks and heap of an idle head or node, resident and private.
inline constexpr std::uint64_t process_bytes = 96ull << 20;

}  // namespace collm::deploy::rates
