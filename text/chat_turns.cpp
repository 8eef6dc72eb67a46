#include "text/chat_turns.hpp"

#include <algorithm>

#include "text/unicode_class.hpp"
#include "text/utf8.hpp"

namespace collm::text {
namespace {

constexpr std::string_view turn_start = "<|im_start|>", turn_end = "<|im_end|>";
constexpr std::string_view think = "<think>", think_end = "</think>";

void add_turn(chat_parts& out, std::string_view role, std::string_view content) {
  out.mark(turn_start).say(role).say("\n").say(content).mark(turn_end).say("\n");
}

std::string_view strip_line_breaks(std::string_view text, bool left, bool right) {
  while (left && text.starts_with('\n')) text.remove_prefix(1);
  while (right && text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

std::string_view after_last(std::string_view text, std::string_view mark) {
  const std::size_t at = text.rfind(mark);
  return at == std::string_view::npos ? text : text.substr(at + mark.size());
}

/// An answer as Qwen3 gave it, taken apart; views into it.
struct thought_and_answer {
  std::string_view thought, answer;
};

thought_and_answer take_apart(std::string_view content) {
  const std::size_t end = content.find(think_end);
  if (end == std::string_view::npos) return {{}, content};
  const std::string_view before = strip_line_breaks(content.substr(0, end), false, true);
  return {strip_line_breaks(after_last(before, think), true, false),
          strip_line_breaks(after_last(content, think_end), true, false)};
}

// Answers after the last question keep their thoughts: they are steps of one answer still going on.
std::size_t last_question(const chat_messages& messages) {
  for (std::size_t i = messages.size(); i-- > 0;) {
    const std::string_view content = messages[i].content;
    const bool from_tool =
        content.starts_with("<tool_response>") && content.ends_with("</tool_response>");
    if (messages[i].role == "user" && !from_tool) return i;
  }
  return messages.size() - 1;
}

void add_qwen3_answer(chat_parts& out, std::string_view content, bool goes_on, bool last) {
  const auto [thought, answer] = take_apart(content);
  out.mark(turn_start).say("assistant\n");
  if (goes_on && (last || !thought.empty())) {
    out.mark(think).say("\n").say(strip_line_breaks(thought, true, true)).say("\n");
    out.mark(think_end).say("\n\n").say(strip_line_breaks(answer, true, false));
  } else {
    out.say(answer);
  }
  out.mark(turn_end).say("\n");
}

// Python's str.strip(): Unicode's blanks and the four separators of ASCII.
bool is_blank(char32_t point) {
  return classify(point) == char_class::space || (point >= 0x1C && point <= 0x1F);
}

std::string_view trim(std::string_view text) {
  std::size_t begin = text.size(), end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const utf8_step step = utf8_next(text.substr(at));
    const std::size_t after = at + step.size;
    if (step.state != utf8_state::whole || !is_blank(step.point)) {
      begin = std::min(begin, at);
      end = after;
    }
    at = after;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

}  // namespace

chat_parts& chat_parts::mark(std::string_view token) {
  parts_.push_back({std::string(token), true});
  return *this;
}

chat_parts& chat_parts::say(std::string_view text) {
  if (parts_.empty() || parts_.back().marker) parts_.push_back({{}, false});
  parts_.back().text += text;
  return *this;
}

chat_parts chatml_turns(const chat_messages& messages, std::string_view default_system,
                        bool add_generation_prompt) {
  chat_parts out;
  const bool silent = messages.empty() || messages.front().role == "system";
  if (!silent && !default_system.empty()) add_turn(out, "system", default_system);
  for (const chat_message& m : messages) add_turn(out, m.role, m.content);
  if (add_generation_prompt) out.mark(turn_start).say("assistant\n");
  return out;
}

chat_parts qwen3_turns(const chat_messages& messages, bool add_generation_prompt) {
  chat_parts out;
  const std::size_t question = messages.empty() ? 0 : last_question(messages);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const chat_message& m = messages[i];
    if (m.role == "assistant") {
      add_qwen3_answer(out, m.content, i > question, i + 1 == messages.size());
    } else {
      add_turn(out, m.role, m.content);
    }
  }
  if (add_generation_prompt) {
    out.mark(turn_start).say("assistant\n");
    out.mark(think).say("\n\n").mark(think_end).say("\n\n");
  }
  return out;
}

result<chat_parts> gemma3_turns(const chat_messages& messages, bool add_generation_prompt) {
  chat_parts out;
  out.mark("<bos>");
  const bool led = !messages.empty() && messages.front().role == "system";
  for (std::size_t i = led ? 1 : 0, turn = 0; i < messages.size(); ++i, ++turn) {
    const chat_message& m = messages[i];
    if ((m.role == "user") != (turn % 2 == 0)) {
      return error{errc::bad_request, "message " + std::to_string(i) + " is of role '" + m.role +
                                          "'; after an optional system message this model's chat "
                                          "template needs user and assistant in turn, user first"};
    }
    out.mark("<start_of_turn>").say(m.role == "assistant" ? "model" : m.role).say("\n");
    if (led && turn == 0) out.say(messages.front().content).say("\n\n");
    out.say(trim(m.content)).mark("<end_of_turn>").say("\n");
  }
  if (add_generation_prompt) out.mark("<start_of_turn>").say("model\n");
  return out;
}

}  // namespace collm::text
