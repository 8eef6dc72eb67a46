// Cuts text into the pieces that BPE never merges across: Hugging Face's
// Sequence[Digits(individual_digits=True), ByteLevel(use_regex=True)], by hand and in linear time.
// No token ids here. One object a text, its owner's thread only.
#pragma once

#include <cstddef>
#include <string_view>

#include "text/unicode_class.hpp"

namespace collm::text {

/// Every number character alone; between them GPT-2's expression:
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// A byte that is not UTF-8 counts as one character of class `other`.
class splitter {
 public:
  explicit splitter(std::string_view text) : text_(text) {}

  /// The next piece, never empty; an empty view at the end. The pieces' concatenation is the text.
  std::string_view next();

 private:
  struct character {
    char_class kind = char_class::space;
    std::size_t size = 0;  ///< 0: the end
  };

  character at(std::size_t position) const;
  std::size_t contraction() const;
  std::size_t run_end(std::size_t from, char_class kind) const;
  std::size_t blanks_end() const;
  std::string_view take(std::size_t end);

  std::string_view text_;
  std::size_t position_ = 0;
};

}  // namespace collm::text
