// Tokens of one running answer to text: UTF-8 is never split, stop strings are found across token
// borders and never shown. One object a sequence; its owner's thread only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/stop_matcher.hpp"
#include "text/tokenizer.hpp"

namespace collm::text {

class text_stream {
 public:
  /// `stops`: non-empty UTF-8, checked by the gateway; others are ignored, since no text can
  /// contain them whole. The tokenizer outlives the stream.
  text_stream(const tokenizer& tokens, std::vector<std::string> stops);

  struct piece {
    std::string text;      ///< complete UTF-8, safe to show; may be empty
    bool stopped = false;  ///< a stop string was completed; `text` ends before it
  };

  /// Appends one token; control tokens say nothing. Text that may be the start of a stop string, or
  /// an incomplete UTF-8 sequence, is held back, and no more than that. The stop string that is
  /// completed first wins; of several completed by the same byte, the longest. After a stop every
  /// piece is empty and stopped.
  piece push(std::int32_t token);

  /// End without stop string: what was held back; bytes that never became UTF-8 are U+FFFD. Empty
  /// after a stop.
  std::string flush();

 private:
  std::string take_whole();
  void scan(std::string_view text);

  const tokenizer* tokens_;
  std::vector<stop_matcher> stops_;
  std::string partial_;  ///< bytes not yet UTF-8
  std::string held_;     ///< UTF-8 not yet shown
  bool at_start_;        ///< a blank that comes next is the tokenizer's, not the answer's
  bool stopped_ = false;
};

}  // namespace collm::text
