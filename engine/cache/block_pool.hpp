// Which KV blocks are free, used or kept: reference counts, a free list, and the unreferenced
// prefix blocks in order of their last use. Holds numbers only, never KV. Owner: one engine thread.
// Not here: what a kept block holds (prefix_cache).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace collm::engine {

using block_id = std::uint32_t;

/// Every block is in exactly one state; free + referenced + cached = total after every call.
class block_pool {
 public:
  explicit block_pool(std::uint32_t blocks);

  /// A free block, referenced once. Empty when the free list is: then evict() may help.
  std::optional<block_id> take();
  /// One more reference; a cached block becomes referenced again.
  void retain(block_id block);
  /// One reference less. At zero a kept block becomes cached, newest; any other becomes free.
  void release(block_id block);
  /// From now on the block stays when its last reference goes. Of a referenced block only.
  void keep(block_id block);
  /// Frees the cached block that was released longest ago; empty if none is cached.
  std::optional<block_id> evict();

  std::uint32_t references(block_id block) const { return at(block).references; }
  bool kept(block_id block) const { return at(block).kept; }
  std::uint32_t total() const { return static_cast<std::uint32_t>(blocks_.size()); }
  std::uint32_t free() const { return static_cast<std::uint32_t>(free_.size()); }
  std::uint32_t cached() const { return cached_; }
  std::uint32_t referenced() const { return referenced_; }

 private:
  static constexpr block_id none = UINT32_MAX;
  struct block_state {
    std::uint32_t references = 0;
    bool kept = false;
    block_id older = none, newer = none;  ///< neighbours among the cached
  };
  const block_state& at(block_id block) const;
  block_state& at(block_id block);
  void link_newest(block_id block);
  void unlink(block_id block);

  std::vector<block_state> blocks_;
  std::vector<block_id> free_;
  block_id oldest_ = none, newest_ = none;
  std::uint32_t cached_ = 0, referenced_ = 0;
};

}  // namespace collm::engine
