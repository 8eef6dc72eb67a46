// What the kinds of BPE have in common: text between whole tokens goes in, token ids come out; and
// what both check of a vocabulary when they are made. Immutable, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "messages/result.hpp"
#include "text/merges.hpp"
#include "text/vocabulary.hpp"

namespace collm::text {

class piece_encoder {
 public:
  virtual ~piece_encoder() = default;
  /// Appends the tokens of `text`, which holds no special token that counts.
  virtual void encode(std::string_view text, merges::scratch& work,
                      std::vector<std::int32_t>& out) const = 0;
};

struct piece_model {
  std::vector<std::string> bytes;  ///< what each token says, by id
  std::unique_ptr<const piece_encoder> encoder;
};

/// Spelling to id of the tokens that plain text may become. Its keys look into the vocabulary.
using token_index = std::unordered_map<std::string_view, std::int32_t>;

error refuse_vocabulary(std::string message);
std::string quoted(std::string_view s);

/// Refuses empty spellings and those of two tokens. Hidden tokens are left out: text that is not
/// parsed for control tokens must not reach one by its letters or merges either.
result<token_index> index_tokens(const vocabulary& vocab);

/// vocab.merges as rules; refuses the first that is not made of tokens in `ids`.
result<std::vector<merges::rule>> parse_merges(const vocabulary& vocab, const token_index& ids);

}  // namespace collm::text
