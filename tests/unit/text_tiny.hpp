// Tiny vocabularies for tests of text/: four control tokens, every byte, then what the test asks
// for.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/byte_alphabet.hpp"
#include "text/tokenizer.hpp"

namespace collm::text::tiny {

constexpr std::int32_t end_of_text = 0, turn_start = 1, turn_end = 2, turn_end_all = 3;
constexpr std::int32_t first_byte = 4;

inline std::string spell(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += spell_byte(static_cast<std::uint8_t>(c));
  return out;
}

inline std::int32_t byte_token(char c) { return first_byte + static_cast<std::uint8_t>(c); }

inline void add(vocabulary& vocab, std::string spelling, token_type type = token_type::normal) {
  vocab.tokens.push_back(std::move(spelling));
  vocab.types.push_back(type);
}

/// `merges`: pairs of plain bytes, best first; the join becomes the next token id.
inline vocabulary make_vocabulary(
    const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  vocabulary vocab;
  vocab.model = "gpt2";
  vocab.pre_tokenizer = "smollm";
  for (const char* control : {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_end|>>"}) {
    add(vocab, control, token_type::control);
  }
  for (int byte = 0; byte < 256; ++byte) add(vocab, spell_byte(static_cast<std::uint8_t>(byte)));
  for (const auto& [left, right] : merges) {
    vocab.merges.push_back(spell(left) + " " + spell(right));
    add(vocab, spell(left + right));
  }
  return vocab;
}

inline std::shared_ptr<const tokenizer> make_tokenizer(vocabulary vocab = make_vocabulary()) {
  auto made = tokenizer::make(std::move(vocab));
  return made ? *made : nullptr;
}

}  // namespace collm::text::tiny
