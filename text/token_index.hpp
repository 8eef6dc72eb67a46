// Spelling to id of a vocabulary's tokens. Lives no longer than the vocabulary, which does not
// change. Immutable after construction, any thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "text/vocabulary.hpp"

namespace collm::text {

class token_index {
 public:
  static constexpr std::int32_t none = -1;

  /// Refuses empty spellings and those of two tokens.
  static result<token_index> make(const vocabulary& vocab);

  /// The token that plain text may become; never a hidden one: text that is not parsed for control
  /// tokens must not reach one by its letters or merges either.
  std::int32_t find(std::string_view spelling) const;

 private:
  struct slot {
    std::uint32_t tag = 0;   ///< of the spelling's hash: what differs is seldom looked up
    std::int32_t id = none;  ///< none: free
  };

  explicit token_index(const vocabulary& vocab);
  std::size_t seek(std::string_view spelling) const;

  const vocabulary* vocab_;
  std::vector<slot> slots_;  ///< open addressing, at most half full
};

}  // namespace collm::text
