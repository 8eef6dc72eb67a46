// Tokens of one running answer to text: UTF-8 is never split, stop strings are found across token borders and never shown.
// One object a sequence; its owner's thread only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.hpp"

namespace collm::text {

class text_stream {
 public:
  /// `stops`: non-empty strings, checked by the gateway. The tokenizer outlives the stream.
  text_stream(const tokenizer& tokens, std::vector<std::string> stops);

  struct piece {
    std::string text;      ///< complete UTF-8, safe to show; may be empty
    bool stopped = false;  ///< a stop string was completed; `text` ends before it
  };

  /// Appends one token. Text that may be the start of a stop string, or an incomplete UTF-8 sequence, is held back.
  piece push(std::int32_t token);

  /// End without stop string: what was held back; bytes that never became UTF-8 are U+FFFD.
  std::string flush();

 private:
  const tokenizer* tokens_;
  std::vector<std::string> stops_;
  std::string held_;
};

}  // namespace collm::text
