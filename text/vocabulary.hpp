// What a tokenizer is built from, as plain values. Whoever reads the model file fills it; text/
// reads no files.
#pragma once

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

/// Byte-level BPE vocabulary (GGUF `tokenizer.ggml.*`). tokens[i] is spelled in GPT-2's byte
/// alphabet.
struct vocabulary {
  std::string model;                                            ///< "gpt2" = byte-level BPE
  std::string pre_tokenizer;                                    ///< "smollm", ...
  std::vector<std::string> tokens;                              ///< index = token id
  std::vector<token_type> types;                                ///< same length as tokens
  std::vector<std::string> merges;                              ///< "left right", best first
  std::int32_t bos = -1, eos = -1, unknown = -1, padding = -1;  ///< -1: none
  bool add_bos = false;
  std::string
      chat_template;  ///< Jinja source as shipped with the model; recognised, not interpreted
};

}  // namespace collm::text
