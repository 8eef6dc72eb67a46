// What a tokenizer is built from, as plain values. Whoever reads the model file fills it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace collm::text {

enum class token_type : std::uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

/// A BPE vocabulary (GGUF `tokenizer.ggml.*`). tokens[i] is spelled in GPT-2's byte alphabet
/// ("gpt2") or as text whose blanks are U+2581 ("llama").
struct vocabulary {
  std::string model;                ///< "gpt2" = byte-level BPE, "llama" = SentencePiece's
  std::string pre_tokenizer;        ///< "smollm", ...; "llama" has none and ignores it
  std::vector<std::string> tokens;  ///< index = token id
  std::vector<token_type> types;    ///< same length as tokens
  std::vector<std::string> merges;  ///< "left right", best first
  std::vector<float> scores;        ///< "llama" without merges: same length as tokens, best highest
  std::int32_t bos = -1, eos = -1, unknown = -1, padding = -1;  ///< -1: none
  bool add_bos = false;                                         ///< BOS before a raw prompt
  bool add_space_prefix = false;                                ///< "llama": text begins a word
  std::string
      chat_template;  ///< Jinja source as shipped with the model; recognised, not interpreted
};

/// The tokens that end an answer: EOS, and the end of a turn where the vocabulary has one.
std::vector<std::int32_t> end_tokens(const vocabulary& vocab);

/// Adds unused tokens up to `rows`, for a model with more embeddings than tokens.
void pad_tokens(vocabulary& vocab, std::size_t rows);

}  // namespace collm::text
