#include "engine/cache/prefix_cache.hpp"

#include <algorithm>
#include <cstring>
#include <ranges>

#include "engine/sha256.hpp"
#include "messages/assert.hpp"

namespace collm::engine {

block_hash hash_block(const block_hash& parent, std::span<const std::int32_t> tokens) {
  thread_local sha256 hash;  // one context for all blocks: making one costs more than hashing one
  hash.add(parent.data(), parent.size());
  hash.add(tokens.data(), tokens.size_bytes());
  return hash.finish();
}

// Every text is preceded by its length, so that no two seeds are spelled alike.
block_hash hash_seed(const prefix_seed& seed) {
  sha256 hash;
  hash.add_text("collm prefix 1");
  hash.add_text(seed.base_digest);
  hash.add_text(seed.precision);
  hash.add_text(seed.kv_type);
  hash.add_text(seed.adapter_digest);
  hash.add_number(seed.salt);
  return hash.finish();
}

prefix_cache::prefix_cache(std::uint32_t blocks, std::uint32_t block_tokens, block_hasher hash)
    : pool_(blocks),
      block_tokens_(block_tokens),
      hash_(hash),
      entries_(blocks),
      tokens_(std::size_t{blocks} * block_tokens) {
  index_.reserve(blocks);
}

std::size_t prefix_cache::hash_of_hash::operator()(const block_hash& h) const noexcept {
  std::size_t first;
  std::memcpy(&first, h.data(), sizeof first);
  return first;
}

std::span<std::int32_t> prefix_cache::tokens_of(block_id block) {
  return std::span(tokens_).subspan(std::size_t{block} * block_tokens_, block_tokens_);
}

// The parent is compared by seed and serial, not by hash: a serial names one content for ever, so
// by induction the whole chain is equal.
bool prefix_cache::holds(block_id block, const prefix_cursor& parent,
                         std::span<const std::int32_t> tokens) const {
  const auto own = std::span(tokens_).subspan(std::size_t{block} * block_tokens_, block_tokens_);
  const entry& e = entries_[block];
  return e.seed == parent.seed && e.parent_serial == parent.serial &&
         std::ranges::equal(own, tokens);
}

std::optional<block_id> prefix_cache::find(prefix_cursor& at,
                                           std::span<const std::int32_t> tokens) {
  COLLM_ASSERT(tokens.size() == block_tokens_);
  if (at.broken) return std::nullopt;
  const block_hash hash = hash_(at.hash, tokens);
  const auto found = index_.find(hash);
  if (found == index_.end() || !holds(found->second, at, tokens)) return std::nullopt;
  at.hash = hash;
  at.serial = entries_[found->second].serial;
  pool_.retain(found->second);
  return found->second;
}

block_id prefix_cache::publish(prefix_cursor& at, block_id block,
                               std::span<const std::int32_t> tokens) {
  if (at.broken) return block;
  if (const auto twin = find(at, tokens)) {
    pool_.release(block);
    return *twin;
  }
  COLLM_ASSERT(entries_[block].serial == 0);
  const block_hash hash = hash_(at.hash, tokens);
  // A hash that is taken by other tokens is a collision: this block and all after it stay the
  // caller's alone.
  at.broken = !index_.emplace(hash, block).second;
  if (at.broken) return block;
  entries_[block] = {at.seed, hash, next_serial_++, at.serial};
  std::ranges::copy(tokens, tokens_of(block).begin());
  pool_.keep(block);
  at.hash = hash;
  at.serial = entries_[block].serial;
  return block;
}

std::optional<block_id> prefix_cache::allocate() {
  if (pool_.free() == 0) {
    const auto dropped = pool_.evict();
    if (!dropped) return std::nullopt;
    index_.erase(entries_[*dropped].hash);
    entries_[*dropped] = {};
  }
  return pool_.take();
}

void prefix_cache::release(std::span<const block_id> table) {
  for (const block_id block : std::views::reverse(table)) pool_.release(block);
}

}  // namespace collm::engine
