#include "text/merges.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <utility>

#include "messages/assert.hpp"

namespace collm::text {
namespace {

constexpr std::uint32_t nowhere = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t empty_slot = std::numeric_limits<std::uint64_t>::max();

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

merges::merges(const std::array<std::int32_t, 256>& bytes, std::vector<rule> rules)
    : bytes_(bytes), rules_(std::move(rules)) {
  COLLM_ASSERT(rules_.size() < nowhere);
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(2 * rules_.size(), 2));
  slots_.assign(size, {empty_slot, 0});
  shift_ = 64 - static_cast<unsigned>(std::countr_zero(size));
  for (std::uint32_t rank = 0; rank < rules_.size(); ++rank) {
    const std::uint64_t pair = pair_of(rules_[rank].left, rules_[rank].right);
    std::size_t i = home(pair);
    while (slots_[i].pair != empty_slot) i = (i + 1) & (size - 1);
    slots_[i] = {pair, rank};
  }
}

void merges::encode(std::string_view piece, scratch& work, std::vector<std::int32_t>& out) const {
  COLLM_ASSERT(piece.size() < nowhere);
  load(piece, work);
  while (!work.queue.empty()) {
    std::pop_heap(work.queue.begin(), work.queue.end(), std::greater{});
    const std::uint64_t top = work.queue.back();
    work.queue.pop_back();
    const auto position = static_cast<std::uint32_t>(top);
    const auto best = static_cast<std::uint32_t>(top >> 32);
    if (still_holds(work, position, best)) apply(work, position, best);
  }
  for (const scratch::symbol& s : work.symbols) {
    if (s.token != no_token) out.push_back(s.token);
  }
}

std::optional<std::uint32_t> merges::rank(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = pair_of(left, right);
  for (std::size_t i = home(pair); slots_[i].pair != empty_slot;
       i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].pair == pair) return slots_[i].rank;
  }
  return std::nullopt;
}

void merges::load(std::string_view piece, scratch& work) const {
  work.symbols.clear();
  work.queue.clear();
  for (const char c : piece) {
    const std::int32_t token = bytes_[static_cast<std::uint8_t>(c)];
    if (token == no_token) continue;
    const auto position = static_cast<std::uint32_t>(work.symbols.size());
    work.symbols.push_back({token, position == 0 ? nowhere : position - 1, position + 1});
  }
  if (work.symbols.empty()) return;
  work.symbols.back().next = nowhere;
  for (std::uint32_t i = 0; i + 1 < work.symbols.size(); ++i) propose(work, i);
}

void merges::propose(scratch& work, std::uint32_t position) const {
  const scratch::symbol& left = work.symbols[position];
  if (const auto found = rank(left.token, work.symbols[left.next].token)) {
    work.queue.push_back(std::uint64_t{*found} << 32 | position);
    std::push_heap(work.queue.begin(), work.queue.end(), std::greater{});
  }
}

// Neighbours may have merged since the pair was queued. What counts is that the pair here now gives
// the same token, even by another rule: Hugging Face's test, and the order of merges depends on it.
bool merges::still_holds(const scratch& work, std::uint32_t position, std::uint32_t best) const {
  const scratch::symbol& left = work.symbols[position];
  if (left.token == no_token || left.next == nowhere) return false;
  const auto now = rank(left.token, work.symbols[left.next].token);
  return now && rules_[*now].merged == rules_[best].merged;
}

void merges::apply(scratch& work, std::uint32_t position, std::uint32_t best) const {
  scratch::symbol& left = work.symbols[position];
  scratch::symbol& right = work.symbols[left.next];
  left.token = rules_[best].merged;
  left.next = right.next;
  right.token = no_token;
  if (left.next != nowhere) {
    work.symbols[left.next].previous = position;
    propose(work, position);
  }
  if (left.previous != nowhere) propose(work, left.previous);
}

std::size_t merges::home(std::uint64_t pair) const {
  constexpr std::uint64_t odd =
      0x9E3779B97F4A7C15;  // 2^64 / golden ratio: spreads neighbouring ids (Knuth, 6.4)
  return static_cast<std::size_t>(pair * odd >> shift_);
}

}  // namespace collm::text
