// Text to tokens at the edge, once for every port (HTTP, Cap'n Proto): template, limits, max_tokens
// default. No sockets here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "messages/limits.hpp"
#include "messages/result.hpp"
#include "text/chat_template.hpp"
#include "text/tokenizer.hpp"

namespace collm::gateway {

/// The cluster's text side: what turns a request's words into tokens. Immutable, any thread.
struct prompt_encoder {
  std::shared_ptr<const text::tokenizer> tokens;
  text::chat_template chat;
  std::uint32_t context = 0;  ///< tokens the model can hold
  std::string base_name;      ///< "smollm2-135m-instruct"
  limits bounds;

  using input =
      std::variant<std::string, std::vector<std::int32_t>, std::vector<text::chat_message>>;

  struct encoded {
    std::vector<std::int32_t> prompt;
    std::uint32_t max_tokens = 0;
  };

  /// Bytes are checked before tokenising, tokens after. `max_tokens` 0: `fallback`, at most what
  /// fits the context. Token inputs are checked against the vocabulary.
  result<encoded> encode(const input& in, std::uint32_t max_tokens, std::uint32_t fallback) const;
};

}  // namespace collm::gateway
