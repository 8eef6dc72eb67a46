// KV blocks that are shared by what they hold. A full block is known by a hash chain: SHA-256 over
// the hash of the block before it and its own tokens, seeded with everything else that its KV
// depends on, and with the tenant's salt. A hit is checked against the tokens and the very block
// before it, so that not even a collision serves foreign KV. Owner: one engine thread. Holds
// numbers only, never KV.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/cache/block_pool.hpp"

namespace collm::engine {

using block_hash = std::array<std::uint8_t, 32>;

/// SHA-256 of `parent` and `tokens`. Tests put a bad one in its place to make collisions.
using block_hasher = block_hash (*)(const block_hash& parent, std::span<const std::int32_t> tokens);
block_hash hash_block(const block_hash& parent, std::span<const std::int32_t> tokens);

/// All that the KV of a prompt depends on beside its tokens; and who may share it.
struct prefix_seed {
  std::string_view base_digest;
  std::string_view precision;       ///< "int8" or "f32"
  std::string_view kv_type;         ///< "f32" or "f16"
  std::string_view adapter_digest;  ///< scale included; "none" for the base alone
  std::uint64_t salt = 0;           ///< the tenant's, from the server
};
block_hash hash_seed(const prefix_seed& seed);

/// How far one sequence has come along its chain of full, shared blocks.
struct prefix_cursor {
  block_hash seed{};
  block_hash hash{};         ///< of the chain so far; the seed at the start
  std::uint64_t serial = 0;  ///< of the last block, 0 at the start
  bool broken = false;       ///< after a hash collision: nothing more is shared
};

class prefix_cache {
 public:
  prefix_cache(std::uint32_t blocks, std::uint32_t block_tokens, block_hasher hash = hash_block);

  prefix_cursor start(const prefix_seed& seed) const {
    const block_hash hash = hash_seed(seed);
    return {.seed = hash, .hash = hash};
  }

  /// The cached block that follows `at` with exactly these tokens, retained for the caller; moves
  /// `at` past it.
  std::optional<block_id> find(prefix_cursor& at, std::span<const std::int32_t> tokens);
  /// Makes a full block of the caller findable; moves `at` past it. Returns the block that the
  /// caller holds from now on: its own, or, where another sequence was first, that one's (the
  /// caller's own is released).
  block_id publish(prefix_cursor& at, block_id block, std::span<const std::int32_t> tokens);

  /// A block for the caller alone; the least recently used unreferenced prefix block is dropped if
  /// none is free.
  std::optional<block_id> allocate();
  void release(block_id block) { pool_.release(block); }
  /// Releases a whole table, last block first: the tail of a prompt is then dropped before its
  /// head.
  void release(std::span<const block_id> table);

  const block_pool& pool() const { return pool_; }
  /// Blocks that allocate() can still give.
  std::uint32_t available() const { return pool_.free() + pool_.cached(); }

 private:
  struct entry {
    block_hash seed{}, hash{};
    std::uint64_t serial = 0;  ///< of this content; 0: not published. Never reused.
    std::uint64_t parent_serial = 0;
  };
  struct hash_of_hash {
    std::size_t operator()(const block_hash& h) const noexcept;
  };
  std::span<std::int32_t> tokens_of(block_id block);
  bool holds(block_id block, const prefix_cursor& parent,
             std::span<const std::int32_t> tokens) const;

  block_pool pool_;
  std::uint32_t block_tokens_;
  block_hasher hash_;
  std::vector<entry> entries_;        ///< by block
  std::vector<std::int32_t> tokens_;  ///< [block][block_tokens], of published blocks
  std::unordered_map<block_hash, block_id, hash_of_hash> index_;
  std::uint64_t next_serial_ = 1;
};

}  // namespace collm::engine
