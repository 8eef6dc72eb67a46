#include "text/chat_template.hpp"

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "text/chat_turns.hpp"

namespace collm::text {
namespace {

constexpr std::size_t jinja_bytes_max = 256u << 10;  // the longest in use are some 10 KiB
constexpr std::string_view supported =
    "ChatML with or without a default system line (SmolLM2, Qwen2, Qwen2.5), Qwen3, Gemma 3";

// What differs between copies of a template is left out: blanks and line breaks outside of
// literals, the kind of quotes, and whether a literal spells a line break or holds one.
std::string squeeze(std::string_view jinja) {
  std::string out;
  bool in_tag = false;
  char quote = 0;  // of the literal we are in
  for (std::size_t i = 0; i < jinja.size(); ++i) {
    const char c = jinja[i];
    const bool opens = !in_tag && c == '{' && i + 1 < jinja.size();
    if (opens && (jinja[i + 1] == '{' || jinja[i + 1] == '%')) in_tag = true;
    if (quote != 0 && jinja.substr(i, 2) == "\\n") {
      out.push_back('\n');
      ++i;
    } else if (in_tag && (quote == 0 ? c == '\'' || c == '"' : c == quote)) {
      quote = quote == 0 ? c : 0;
      out.push_back('\'');
    } else if (quote != 0 || (c != ' ' && c != '\n')) {
      out.push_back(c);
      if (quote == 0 && c == '}') in_tag = false;
    }
  }
  return out;
}

bool holds_all(std::string_view text, std::initializer_list<std::string_view> marks) {
  return std::ranges::all_of(
      marks, [&](std::string_view m) { return text.find(m) != std::string_view::npos; });
}

bool holds_none(std::string_view text, std::initializer_list<std::string_view> marks) {
  return std::ranges::none_of(
      marks, [&](std::string_view m) { return text.find(m) != std::string_view::npos; });
}

/// The system line that a literal says whole; empty if none does.
std::string default_system(std::string_view squeezed) {
  constexpr std::string_view begin = "'<|im_start|>system\n", end = "<|im_end|>\n'";
  for (std::size_t at = squeezed.find(end); at != std::string_view::npos;
       at = squeezed.find(end, at + end.size())) {
    const std::size_t quote = std::min(squeezed.rfind('\'', at), at);
    const std::string_view literal = squeezed.substr(quote, at - quote);
    if (literal.size() <= begin.size() || !literal.starts_with(begin)) continue;
    const std::string_view line = literal.substr(begin.size());
    if (line.find_first_of("\\{}") == std::string_view::npos) return std::string(line);
  }
  return {};
}

// The whole template of Qwen2 and SmolLM2, or the one without a system line.
bool is_short_chatml(const std::string& squeezed, const std::string& system) {
  const std::string lead = system.empty() ? std::string()
                                          : "{%ifloop.firstandmessages[0]['role']!='system'%}"
                                            "{{'<|im_start|>system\n" +
                                                system + "<|im_end|>\n'}}{%endif%}";
  return squeezed ==
         "{%formessageinmessages%}" + lead +
             "{{'<|im_start|>'+message['role']+'\n'+message['content']+'<|im_end|>'+'\n'}}"
             "{%endfor%}{%ifadd_generation_prompt%}{{'<|im_start|>assistant\n'}}{%endif%}";
}

// Qwen2.5's, whose other half is about tools.
bool is_long_chatml(const std::string& squeezed) {
  return holds_all(squeezed,
                   {"{%-iftools%}",
                    "{%-ifmessages[0]['role']=='system'%}"
                    "{{-'<|im_start|>system\n'+messages[0]['content']+'<|im_end|>\n'}}{%-else%}",
                    "{%-if(message.role=='user')or(message.role=='system'andnotloop.first)or"
                    "(message.role=='assistant'andnotmessage.tool_calls)%}"
                    "{{-'<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>'+'\n'}}",
                    "{%-ifadd_generation_prompt%}{{-'<|im_start|>assistant\n'}}{%-endif%}"}) &&
         holds_none(squeezed, {"think", "reasoning"});
}

bool is_qwen3(const std::string& squeezed) {
  return holds_all(squeezed,
                   {"{%-ifmessages[0].role=='system'%}"
                    "{{-'<|im_start|>system\n'+messages[0].content+'<|im_end|>\n'}}{%-endif%}",
                    "not(message.content.startswith('<tool_response>')"
                    "andmessage.content.endswith('</tool_response>'))",
                    "{%-if(message.role=='user')or(message.role=='system'andnotloop.first)%}",
                    "split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')",
                    "split('</think>')[-1].lstrip('\n')", "{%-ifloop.index0>ns.last_query_index%}",
                    "{%-ifloop.lastor(notloop.lastandreasoning_content)%}"
                    "{{-'<|im_start|>'+message.role+'\n<think>\n'+reasoning_content.strip('\n')+"
                    "'\n</think>\n\n'+content.lstrip('\n')}}",
                    "{%-ifadd_generation_prompt%}{{-'<|im_start|>assistant\n'}}"
                    "{%-ifenable_thinkingisdefinedandenable_thinkingisfalse%}"
                    "{{-'<think>\n\n</think>\n\n'}}{%-endif%}{%-endif%}"}) &&
         holds_none(squeezed, {"preserve_thinking"});
}

bool is_gemma3(const std::string& squeezed) {
  return squeezed.starts_with("{{bos_token}}") &&
         holds_all(squeezed,
                   {"{%-setfirst_user_prefix=messages[0]['content']+'\n\n'-%}",
                    "{%-setfirst_user_prefix=''-%}",
                    "{%-if(message['role']=='user')!=(loop.index0%2==0)-%}{{raise_exception(",
                    "{%-if(message['role']=='assistant')-%}{%-setrole='model'-%}",
                    "{{'<start_of_turn>'+role+'\n'+(first_user_prefixifloop.firstelse'')}}",
                    "{{message['content']|trim}}", "{{'<end_of_turn>\n'}}"}) &&
         squeezed.ends_with("{%-ifadd_generation_prompt-%}{{'<start_of_turn>model\n'}}{%-endif-%}");
}

std::string first_line(std::string_view jinja) {
  constexpr std::size_t shown_bytes_max = 120;  // a log line, not a page
  const std::string_view line = jinja.substr(0, jinja.find('\n'));
  return line.size() <= shown_bytes_max ? std::string(line)
                                        : std::string(line.substr(0, shown_bytes_max)) + "...";
}

}  // namespace

result<chat_template> chat_template::recognise(const std::string& jinja) {
  if (jinja.size() > jinja_bytes_max) {
    return error{errc::too_large, "chat template: " + std::to_string(jinja.size()) +
                                      " bytes; at most " + std::to_string(jinja_bytes_max)};
  }
  const std::string squeezed = squeeze(jinja);
  if (squeezed.empty()) return chat_template(family::none);
  const std::string system = default_system(squeezed);
  if (is_short_chatml(squeezed, system)) return chat_template(family::chatml, system);
  if (is_long_chatml(squeezed)) return chat_template(family::chatml, system);
  if (is_qwen3(squeezed)) return chat_template(family::qwen3);
  if (is_gemma3(squeezed)) return chat_template(family::gemma3);
  return error{errc::corrupt, "chat template: unknown, starts '" + first_line(jinja) +
                                  "'; supported: " + std::string(supported)};
}

result<chat_parts> chat_template::parts(const std::vector<chat_message>& messages,
                                        bool add_generation_prompt) const {
  switch (family_) {
    case family::chatml:
      return chatml_turns(messages, default_system_, add_generation_prompt);
    case family::qwen3:
      return qwen3_turns(messages, add_generation_prompt);
    case family::gemma3:
      return gemma3_turns(messages, add_generation_prompt);
    case family::none:
      break;
  }
  return error{errc::bad_request,
               "this model has no chat template; it completes texts, but answers no chats"};
}

result<std::string> chat_template::render(const std::vector<chat_message>& messages,
                                          bool add_generation_prompt) const {
  const auto said = parts(messages, add_generation_prompt);
  if (!said) return said.failure();
  std::string out;
  for (const auto& part : said->all()) out += part.text;
  return out;
}

result<std::vector<std::int32_t>> chat_template::encode(const tokenizer& tokens,
                                                        const std::vector<chat_message>& messages,
                                                        bool add_generation_prompt) const {
  const auto said = parts(messages, add_generation_prompt);
  if (!said) return said.failure();
  std::vector<std::int32_t> out;
  for (const auto& part : said->all()) {
    const auto ids = tokens.encode(part.text, part.marker);
    out.insert(out.end(), ids.begin(), ids.end());
  }
  return out;
}

}  // namespace collm::text
