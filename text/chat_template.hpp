// Chat messages to prompt tokens, as the model's own template does it. Known templates are
// recognised by their text; others are refused.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "text/tokenizer.hpp"

namespace collm::text {

struct chat_message {
  std::string role;  ///< "system", "user", "assistant"
  std::string content;
};

class chat_template {
 public:
  /// Recognises the template by its Jinja text; refuses an unknown one by its first line, with what
  /// is supported.
  static result<chat_template> recognise(const std::string& jinja);

  /// The text that Hugging Face's apply_chat_template gives.
  std::string render(const std::vector<chat_message>& messages, bool add_generation_prompt) const;

  /// Tokens of that text. Control spellings typed by users inside `content` stay plain text: a
  /// message cannot forge a turn.
  std::vector<std::int32_t> encode(const tokenizer& tokens,
                                   const std::vector<chat_message>& messages,
                                   bool add_generation_prompt) const;

 private:
  enum class family : std::uint8_t { smollm2 };
  explicit chat_template(family f) : family_(f) {}
  family family_;
};

}  // namespace collm::text
