#include "engine/cache/block_pool.hpp"

#include "messages/assert.hpp"

namespace collm::engine {

block_pool::block_pool(std::uint32_t blocks) : blocks_(blocks) {
  free_.reserve(blocks);
  for (block_id b = blocks; b > 0; --b) free_.push_back(b - 1);  // low numbers are taken first
}

const block_pool::block_state& block_pool::at(block_id block) const {
  COLLM_ASSERT(block < blocks_.size());
  return blocks_[block];
}

block_pool::block_state& block_pool::at(block_id block) {
  COLLM_ASSERT(block < blocks_.size());
  return blocks_[block];
}

std::optional<block_id> block_pool::take() {
  if (free_.empty()) return std::nullopt;
  const block_id block = free_.back();
  free_.pop_back();
  block_state& state = at(block);
  COLLM_ASSERT(state.references == 0 && !state.kept);
  state.references = 1;
  ++referenced_;
  return block;
}

void block_pool::retain(block_id block) {
  block_state& state = at(block);
  COLLM_ASSERT(state.references > 0 || state.kept);  // a free block holds nothing worth sharing
  if (state.references++ > 0) return;
  unlink(block);
  ++referenced_;
}

void block_pool::release(block_id block) {
  block_state& state = at(block);
  COLLM_ASSERT(state.references > 0);  // released twice
  if (--state.references > 0) return;
  --referenced_;
  if (state.kept)
    link_newest(block);
  else
    free_.push_back(block);
}

void block_pool::keep(block_id block) {
  block_state& state = at(block);
  COLLM_ASSERT(state.references > 0);
  state.kept = true;
}

std::optional<block_id> block_pool::evict() {
  if (oldest_ == none) return std::nullopt;
  const block_id block = oldest_;
  unlink(block);
  at(block).kept = false;
  free_.push_back(block);
  return block;
}

void block_pool::link_newest(block_id block) {
  block_state& state = at(block);
  state.older = newest_;
  state.newer = none;
  if (newest_ != none)
    at(newest_).newer = block;
  else
    oldest_ = block;
  newest_ = block;
  ++cached_;
}

void block_pool::unlink(block_id block) {
  block_state& state = at(block);
  COLLM_ASSERT(cached_ > 0);
  if (state.older != none)
    at(state.older).newer = state.newer;
  else
    oldest_ = state.newer;
  if (state.newer != none)
    at(state.newer).older = state.older;
  else
    newest_ = state.older;
  state.older = state.newer = none;
  --cached_;
}

}  // namespace collm::engine
