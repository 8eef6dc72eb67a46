// The turns that each family of chat templates makes of messages, as parts: what the template says
// as whole tokens, and plain text. Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"
#include "text/chat_template.hpp"

namespace collm::text {

/// A prompt under construction. Adjacent plain text is one part, so that it is tokenised as one.
class chat_parts {
 public:
  struct part {
    std::string text;
    bool marker;  ///< the template's own token: parsed as such, never what people wrote
  };

  chat_parts& mark(std::string_view token);
  chat_parts& say(std::string_view text);
  const std::vector<part>& all() const { return parts_; }

 private:
  std::vector<part> parts_;
};

using chat_messages = std::vector<chat_message>;

/// ChatML: `default_system` is said where the first message is not the system's; empty: nothing.
chat_parts chatml_turns(const chat_messages& messages, std::string_view default_system,
                        bool add_generation_prompt);

/// Qwen3 with enable_thinking=false: thoughts in earlier answers are dropped, the prompt ends with
/// an empty one.
chat_parts qwen3_turns(const chat_messages& messages, bool add_generation_prompt);

/// Gemma 3: the system's message begins the first user's turn. Refuses turns that do not alternate.
result<chat_parts> gemma3_turns(const chat_messages& messages, bool add_generation_prompt);

}  // namespace collm::text
