// What the ledger assumes about the engine and the system; each says where it comes from. Inside
// deploy/ only.
#pragma once

#include <cstdint>

namespace collm::deploy::rates {

/// Spelling, type and merge of one token in the packed file: 19 measured for SmolLM2.
inline constexpr std::uint64_t vocabulary_bytes = 20;
/// A factor's number as it serves, beside the float that it trains as (docs/adr/0008).
inline constexpr std::uint64_t half_bytes = 2;
/// A sampler's scratch memory, a token of the vocabulary: logit, weight, and a list of candidates
/// that grows by doubling.
inline constexpr std::uint64_t sampler_bytes = 4 + 4 + 2 * 8;
inline constexpr std::uint64_t sampler_fixed_bytes = 33 << 10;  ///< its sums by class of weights
/// Text, ids and message frame of one token that waits for a slow reader.
inline constexpr std::uint64_t token_bytes = 128;
/// One connection's own read and write buffers.
inline constexpr std::uint64_t socket_bytes = 16 << 10;
/// What TLS adds to a connection: four buffers of 17 KiB (Asio's and between it and OpenSSL), and
/// OpenSSL's own of a record.
inline constexpr std::uint64_t tls_bytes = 96 << 10;
/// Code, tokenizer, thread stacks and heap of an idle head or node, resident and private.
inline constexpr std::uint64_t process_bytes = 96ull << 20;

}  // namespace collm::deploy::rates
