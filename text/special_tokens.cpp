#include "text/special_tokens.hpp"

#include <algorithm>

namespace collm::text {

bool is_special(token_type type) {
  return type == token_type::control || type == token_type::unknown ||
         type == token_type::user_defined;
}

special_tokens::special_tokens(const vocabulary& vocab) {
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    if (!is_special(vocab.types[i])) continue;
    const std::string& spelling = vocab.tokens[i];
    by_first_byte_[static_cast<std::uint8_t>(spelling[0])].push_back(
        {spelling, static_cast<std::int32_t>(i), vocab.types[i] != token_type::user_defined});
  }
  for (auto& entries : by_first_byte_) {
    std::ranges::sort(entries, [](const entry& a, const entry& b) {
      return a.spelling.size() > b.spelling.size();
    });
  }
}

special_tokens::match special_tokens::find(std::string_view text, std::size_t from,
                                           bool control) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    for (const entry& e : by_first_byte_[static_cast<std::uint8_t>(text[begin])]) {
      if (e.control && !control) continue;
      if (text.substr(begin, e.spelling.size()) == e.spelling) {
        return {begin, begin + e.spelling.size(), e.token};
      }
    }
  }
  return {text.size(), text.size(), -1};
}

}  // namespace collm::text
