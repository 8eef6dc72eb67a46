#include "text/chat_template.hpp"

#include <string_view>

namespace collm::text {
namespace {

constexpr std::string_view smollm2_jinja =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
constexpr std::string_view smollm2_system =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
constexpr std::string_view turn_start = "<|im_start|>";
constexpr std::string_view turn_end = "<|im_end|>";

// Jinja reads backslash-n inside a literal as a line break; files carry either spelling.
std::string with_line_breaks(std::string_view jinja) {
  std::string out;
  for (std::size_t i = 0; i < jinja.size(); ++i) {
    const bool escaped = jinja.substr(i, 2) == "\\n";
    out.push_back(escaped ? '\n' : jinja[i]);
    i += escaped ? 1 : 0;
  }
  return out;
}

std::string first_line(std::string_view jinja) {
  constexpr std::size_t shown_bytes_max = 120;  // a log line, not a page
  const std::string_view line = jinja.substr(0, jinja.find('\n'));
  return line.size() <= shown_bytes_max ? std::string(line)
                                        : std::string(line.substr(0, shown_bytes_max)) + "...";
}

// ChatML: calls marker(text) for what the template says and plain(text) for what people and roles
// say.
template <class Marker, class Plain>
void walk(const std::vector<chat_message>& messages, bool add_generation_prompt, Marker marker,
          Plain plain) {
  const auto turn = [&](const std::string& role, std::string_view content) {
    marker(turn_start);
    plain(role + "\n" + std::string(content));
    marker(turn_end);
    plain("\n");
  };
  if (!messages.empty() && messages.front().role != "system") turn("system", smollm2_system);
  for (const chat_message& m : messages) turn(m.role, m.content);
  if (!add_generation_prompt) return;
  marker(turn_start);
  plain("assistant\n");
}

}  // namespace

result<chat_template> chat_template::recognise(const std::string& jinja) {
  if (with_line_breaks(jinja) == smollm2_jinja) return chat_template(family::smollm2);
  return error{errc::corrupt, "chat template: unknown, starts '" + first_line(jinja) +
                                  "'; supported: that of SmolLM2-Instruct"};
}

std::string chat_template::render(const std::vector<chat_message>& messages,
                                  bool add_generation_prompt) const {
  std::string out;
  const auto append = [&](std::string_view text) { out += text; };
  walk(messages, add_generation_prompt, append, append);
  return out;
}

std::vector<std::int32_t> chat_template::encode(const tokenizer& tokens,
                                                const std::vector<chat_message>& messages,
                                                bool add_generation_prompt) const {
  std::vector<std::int32_t> out;
  const auto append = [&](std::string_view text, bool special) {
    const auto ids = tokens.encode(text, special);
    out.insert(out.end(), ids.begin(), ids.end());
  };
  walk(
      messages, add_generation_prompt, [&](std::string_view text) { append(text, true); },
      [&](std::string_view text) { append(text, false); });
  return out;
}

}  // namespace collm::text
