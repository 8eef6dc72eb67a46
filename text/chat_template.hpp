// Chat messages to prompt tokens, as the model's own template does it. Known templates are
// recognised by their text; others are refused.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "text/tokenizer.hpp"

namespace collm::text {

class chat_parts;

struct chat_message {
  std::string role;  ///< "system", "user", "assistant"
  std::string content;
};

class chat_template {
 public:
  /// Recognises the template by its Jinja text; refuses an unknown one by its first line, with what
  /// is supported. No text: a model that is not made for chats; it can complete, and refuses chats.
  static result<chat_template> recognise(const std::string& jinja);

  /// The text that Hugging Face's apply_chat_template gives (Qwen3: with enable_thinking=false).
  /// Refuses, as bad_request, turns that the template does not take.
  result<std::string> render(const std::vector<chat_message>& messages,
                             bool add_generation_prompt) const;

  /// Tokens of that text. Control spellings typed by users inside `content` stay plain text: a
  /// message cannot forge a turn.
  result<std::vector<std::int32_t>> encode(const tokenizer& tokens,
                                           const std::vector<chat_message>& messages,
                                           bool add_generation_prompt) const;

 private:
  enum class family : std::uint8_t { none, chatml, qwen3, gemma3 };
  explicit chat_template(family f, std::string default_system = {})
      : family_(f), default_system_(std::move(default_system)) {}
  result<chat_parts> parts(const std::vector<chat_message>& messages,
                           bool add_generation_prompt) const;

  family family_;
  std::string default_system_;  ///< of ChatML; empty: none
};

}  // namespace collm::text
