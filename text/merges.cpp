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

}  // namespace

merges::merges(std::vector<rule> rules) : rules_(std::move(rules)) {
  COLLM_ASSERT(rules_.size() < nowhere);
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(2 * rules_.size(), 2));
  slots_.assign(size, nowhere);
  shift_ = 64 - static_cast<unsigned>(std::countr_zero(size));
  for (std::uint32_t rank = 0; rank < rules_.size(); ++rank) {
    std::size_t i = home(rules_[rank].left, rules_[rank].right);
    while (slots_[i] != nowhere) i = (i + 1) & (size - 1);
    slots_[i] = rank;
  }
}

void merges::encode(std::span<const std::int32_t> letters, scratch& work,
                    std::vector<std::int32_t>& out) const {
  COLLM_ASSERT(letters.size() < nowhere);
  load(letters, work);
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
  for (std::size_t i = home(left, right); slots_[i] != nowhere; i = (i + 1) & (slots_.size() - 1)) {
    const rule& found = rules_[slots_[i]];
    if (found.left == left && found.right == right) return slots_[i];
  }
  return std::nullopt;
}

void merges::load(std::span<const std::int32_t> letters, scratch& work) const {
  work.symbols.clear();
  work.queue.clear();
  if (letters.empty()) return;
  for (std::uint32_t i = 0; i < letters.size(); ++i) {
    work.symbols.push_back({letters[i], i == 0 ? nowhere : i - 1, i + 1});
  }
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

std::size_t merges::home(std::int32_t left, std::int32_t right) const {
  constexpr std::uint64_t odd =
      0x9E3779B97F4A7C15;  // 2^64 / golden ratio: spreads neighbouring ids (Knuth, 6.4)
  const auto pair = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  return static_cast<std::size_t>(pair * odd >> shift_);
}

}  // namespace collm::text
