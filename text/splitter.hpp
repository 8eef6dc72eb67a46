// Cuts text into the pieces that byte-level BPE never merges across: the pre-tokenizers of Hugging
// Face's tokenizer.json, by hand and in linear time. No token ids here. One object a text, its
// owner's thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/unicode_class.hpp"

namespace collm::text {

/// Named after who publishes them.
enum class split_rule : std::uint8_t {
  /// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  gpt2,
  /// Every number character alone (Digits), and gpt2 between them.
  smollm,
  /// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|
  /// \s*[\r\n]+|\s+(?!\S)|\s+
  qwen2,
  /// qwen2 with \p{N}{1,3} in place of \p{N}
  llama3,
};

/// A byte that is not UTF-8 counts as one character of class `other`.
class splitter {
 public:
  splitter(std::string_view text, split_rule rule) : text_(text), rule_(rule) {}

  /// The next piece, never empty; an empty view at the end. The pieces' concatenation is the text.
  std::string_view next();

 private:
  struct character {
    char_class kind = char_class::space;
    std::size_t size = 0;  ///< 0: the end
  };

  std::size_t end_by_gpt2(character first) const;
  std::size_t end_by_qwen2(character first) const;
  character at(std::size_t position) const;
  bool breaks_line(std::size_t position) const;
  std::size_t contraction() const;
  std::size_t run_end(std::size_t from, char_class kind) const;
  std::size_t digits_end(std::size_t count_max) const;
  std::size_t line_breaks_end(std::size_t from) const;
  std::size_t blanks_end(bool to_last_line_break) const;

  std::string_view text_;
  split_rule rule_;
  std::size_t position_ = 0;
};

}  // namespace collm::text
