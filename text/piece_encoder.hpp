// What the kinds of BPE have in common: text between whole tokens goes in, token ids come out; and
// what both check of a vocabulary when they are made. Immutable, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "text/merges.hpp"
#include "text/token_index.hpp"
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

error refuse_vocabulary(std::string message);
std::string quoted(std::string_view s);

/// vocab.merges as rules; refuses the first that is not made of tokens in `ids`.
result<std::vector<merges::rule>> parse_merges(const vocabulary& vocab, const token_index& ids);

}  // namespace collm::text
