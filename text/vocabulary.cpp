#include "text/vocabulary.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "text/special_tokens.hpp"

namespace collm::text {
namespace {

// Of ChatML, Gemma, Llama 3. A chat may end with one of these where EOS is another token.
constexpr std::array<std::string_view, 3> turn_ends = {"<|im_end|>", "<end_of_turn>", "<|eot_id|>"};

}  // namespace

std::vector<std::int32_t> end_tokens(const vocabulary& vocab) {
  std::vector<std::int32_t> ends;
  if (vocab.eos >= 0) ends.push_back(vocab.eos);
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    const bool ends_turn = is_special(vocab.types[i]) &&
                           std::ranges::find(turn_ends, vocab.tokens[i]) != turn_ends.end();
    const auto id = static_cast<std::int32_t>(i);
    if (ends_turn && id != vocab.eos) ends.push_back(id);
  }
  return ends;
}

void pad_tokens(vocabulary& vocab, std::size_t rows) {
  while (vocab.tokens.size() < rows) {
    vocab.tokens.push_back("[PAD" + std::to_string(vocab.tokens.size()) + "]");
    vocab.types.push_back(token_type::unused);
    if (!vocab.scores.empty()) vocab.scores.push_back(0);
  }
}

}  // namespace collm::text
