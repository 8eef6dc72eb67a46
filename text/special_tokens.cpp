#include "text/special_tokens.hpp"

#include <algorithm>

namespace collm::text {

bool is_special(token_type type) { return is_hidden(type) || type == token_type::user_defined; }

bool is_hidden(token_type type) {
  return type == token_type::control || type == token_type::unknown;
}

special_tokens::special_tokens(const vocabulary& vocab) {
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    if (!is_special(vocab.types[i])) continue;
    entries_.push_back({vocab.tokens[i], static_cast<std::int32_t>(i), is_hidden(vocab.types[i])});
  }
  std::ranges::sort(entries_, {}, &entry::spelling);
  for (const entry& e : entries_) ++first_[static_cast<std::uint8_t>(e.spelling[0]) + 1u];
  for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
}

special_tokens::match special_tokens::find(std::string_view text, std::size_t from,
                                           bool control) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (const entry* e = longest(text.substr(begin), control)) {
      return {begin, begin + e->spelling.size(), e->token};
    }
  }
  return {text.size(), text.size(), -1};
}

// Narrows the entries that share the text's beginning, byte by byte; in byte order the one that
// ends there comes first.
const special_tokens::entry* special_tokens::longest(std::string_view text, bool control) const {
  const auto first = static_cast<std::uint8_t>(text[0]);
  auto low = entries_.begin() + first_[first], high = entries_.begin() + first_[first + 1u];
  const entry* best = nullptr;
  for (std::size_t size = 1; low != high; ++size) {
    if (low->spelling.size() == size) {
      if (control || !low->control) best = &*low;
      ++low;
    }
    if (size == text.size()) break;
    const auto byte_after = [&](const entry& e) {
      return static_cast<std::uint8_t>(e.spelling[size]);
    };
    const auto same =
        std::ranges::equal_range(low, high, static_cast<std::uint8_t>(text[size]), {}, byte_after);
    low = same.begin();
    high = same.end();
  }
  return best;
}

}  // namespace collm::text
