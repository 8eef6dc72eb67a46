// Finds tokens that are matched as whole spellings before anything is cut: control tokens and those
// a user added. Leftmost, then longest. Immutable after construction, any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/vocabulary.hpp"

namespace collm::text {

/// Taken literally, never cut or merged.
bool is_special(token_type type);

/// Nothing that people wrote: control tokens, and the unknown token, which no text produces.
bool is_hidden(token_type type);

class special_tokens {
 public:
  struct match {
    std::size_t begin = 0, end = 0;
    std::int32_t token = -1;  ///< -1: none, and `begin` is the text's end
  };

  /// Copies what it needs of `vocab`.
  explicit special_tokens(const vocabulary& vocab);

  /// The first match at or after `from`. Without `control`, only user-defined tokens count. A step
  /// costs at most the longest spelling, however many tokens there are.
  match find(std::string_view text, std::size_t from, bool control) const;

 private:
  struct entry {
    std::string spelling;
    std::int32_t token;
    bool control;
  };

  const entry* longest(std::string_view text, bool control) const;

  std::vector<entry> entries_;              ///< by spelling
  std::array<std::uint32_t, 257> first_{};  ///< first_[b]: the first entry that starts with byte b
};

}  // namespace collm::text
