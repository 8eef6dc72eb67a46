// Byte-level and SentencePiece BPE, token for token equal to Hugging Face `tokenizers`. Immutable
// after construction: any thread may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "text/vocabulary.hpp"

namespace collm::text {

class tokenizer {
 public:
  /// Refuses, by name, a model or pre-tokenizer that is not built, and a vocabulary that
  /// contradicts itself.
  static result<std::shared_ptr<const tokenizer>> make(vocabulary vocab);
  ~tokenizer();

  /// Text to token ids. `parse_special`: spellings of control tokens ("<|im_start|>") become those
  /// tokens, as Hugging Face does; false keeps them as plain text (for text that users typed into a
  /// chat message). Invalid UTF-8 is encoded byte by byte.
  std::vector<std::int32_t> encode(std::string_view text, bool parse_special) const;

  /// The tokens of a prompt that is plain text, not a chat: encode(text, true), after BOS where the
  /// vocabulary asks for it (Hugging Face's add_special_tokens).
  std::vector<std::int32_t> encode_prompt(std::string_view text) const;

  /// Raw bytes of one token; control tokens give their spelling. Empty view for an id out of range.
  std::string_view token_bytes(std::int32_t id) const;

  /// Concatenated bytes, less the blank that leads_with_blank() means; `skip_special` leaves
  /// control tokens out. May end inside a UTF-8 sequence.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const;

  bool is_control(std::int32_t id) const;

  /// Encoding puts a blank before the text ("add_space_prefix"), so that of a whole text or answer
  /// the first blank, if it starts with one, is not the writer's.
  bool leads_with_blank() const;

  std::int32_t size() const;  ///< number of ids
  const vocabulary& vocab() const;

 private:
  struct impl;
  explicit tokenizer(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

}  // namespace collm::text
