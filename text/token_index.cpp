#include "text/token_index.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "text/piece_encoder.hpp"
#include "text/special_tokens.hpp"

namespace collm::text {
namespace {

// The longest in use are some 256 bytes; every cut of a spelling may be looked at.
constexpr std::size_t spelling_bytes_max = 1024;

// FNV-1a, its high half folded in: spellings are a few bytes long.
std::uint64_t hash_of(std::string_view spelling) {
  std::uint64_t state = 0xCBF29CE484222325;
  for (const char c : spelling) state = (state ^ static_cast<std::uint8_t>(c)) * 0x100000001B3;
  return state ^ (state >> 32);
}

std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }

}  // namespace

token_index::token_index(const vocabulary& vocab)
    : vocab_(&vocab), slots_(std::bit_ceil(std::max<std::size_t>(2 * vocab.tokens.size(), 2))) {}

result<token_index> token_index::make(const vocabulary& vocab) {
  token_index out(vocab);
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    const std::string& spelling = vocab.tokens[i];
    if (spelling.empty()) return refuse_vocabulary("token " + std::to_string(i) + " is empty");
    if (spelling.size() > spelling_bytes_max) {
      return refuse_vocabulary("token " + std::to_string(i) + " is spelled with " +
                               std::to_string(spelling.size()) + " bytes; at most " +
                               std::to_string(spelling_bytes_max));
    }
    slot& at = out.slots_[out.seek(spelling)];
    if (at.id != none) {
      return refuse_vocabulary("tokens " + std::to_string(at.id) + " and " + std::to_string(i) +
                               " are both " + quoted(spelling));
    }
    at = {tag_of(hash_of(spelling)), static_cast<std::int32_t>(i)};
  }
  return out;
}

std::int32_t token_index::find(std::string_view spelling) const {
  const std::int32_t id = slots_[seek(spelling)].id;
  return id == none || is_hidden(vocab_->types[static_cast<std::size_t>(id)]) ? none : id;
}

/// The slot that holds `spelling`, or the free one where it would be.
std::size_t token_index::seek(std::string_view spelling) const {
  const std::uint64_t hash = hash_of(spelling);
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = hash & mask;
  for (; slots_[i].id != none; i = (i + 1) & mask) {
    const slot& s = slots_[i];
    if (s.tag == tag_of(hash) && vocab_->tokens[static_cast<std::size_t>(s.id)] == spelling) break;
  }
  return i;
}

}  // namespace collm::text
