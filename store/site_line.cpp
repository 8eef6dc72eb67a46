// One line of site data: what is right, and the words for what is wrong.
#include <nlohmann/json.hpp>

#include "messages/json_text.hpp"
#include "store/digest.hpp"
#include "store/site_data.hpp"

namespace collm::store {

namespace {

using json = nlohmann::ordered_json;

error wrong(const std::string& what) { return {errc::bad_request, what}; }

/// Empty: fine. Like all words here it quotes nothing of the line: events bear it to the head.
std::string fault_of_message(const json& m, std::size_t at) {
  const auto place = "messages[" + std::to_string(at) + "]";
  if (!m.is_object()) return place + " is no object";
  if (!m.contains("role") || !m["role"].is_string()) return place + " has no role";
  const auto role = m["role"].get<std::string>();
  if (role != "system" && role != "user" && role != "assistant")
    return place + ": role is neither system, user nor assistant";
  if (!m.contains("content") || !m["content"].is_string())
    return place + ": content is a string, nothing else";
  return "";
}

result<site_row> row_of_messages(const json& messages) {
  if (!messages.is_array() || messages.size() < 2 || messages.size() > limits{}.messages_max)
    return wrong("messages is an array of a question and its answer, at least");
  for (std::size_t i = 0; i < messages.size(); ++i)
    if (const auto fault = fault_of_message(messages[i], i); !fault.empty()) return wrong(fault);
  const auto& last = messages.back();
  site_row row;
  row.completion = last["content"].get<std::string>();
  if (last["role"] != "assistant" || row.completion.empty())
    return wrong("the last message is the assistant's answer, not empty");
  json question = json::array();
  for (std::size_t i = 0; i + 1 < messages.size(); ++i)
    question.push_back({{"role", messages[i]["role"]}, {"content", messages[i]["content"]}});
  row.messages = question.dump();
  return row;
}

result<site_row> row_of_prompt(const json& line) {
  for (const char* key : {"prompt", "completion"}) {
    if (!line.contains(key) || !line[key].is_string() || line[key].get<std::string>().empty())
      return wrong(std::string(key) + " is a string, not empty");
  }
  site_row row;
  row.prompt = line["prompt"].get<std::string>();
  row.completion = line["completion"].get<std::string>();
  return row;
}

}  // namespace

result<std::vector<std::pair<std::string, std::string>>> turns_of(const site_row& row) {
  std::vector<std::pair<std::string, std::string>> out;
  if (row.messages.empty()) return out;
  const auto messages = parse_json<json>(row.messages);
  if (!messages.is_array())
    return error{errc::corrupt, "row " + std::to_string(row.number) + " holds no messages"};
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (const auto fault = fault_of_message(messages[i], i); !fault.empty())
      return error{errc::corrupt, "row " + std::to_string(row.number) + ": " + fault};
    out.emplace_back(messages[i]["role"].get<std::string>(),
                     messages[i]["content"].get<std::string>());
  }
  return out;
}

result<site_row> row_of_line(std::string_view line) {
  const auto parsed = parse_json<json>(line);
  if (parsed.is_discarded()) return wrong("no JSON, or nested too deep");
  if (!parsed.is_object()) return wrong("a JSON object is right");
  const bool chat = parsed.contains("messages");
  if (!chat && !parsed.contains("prompt"))
    return wrong("neither messages nor prompt and completion");
  auto row = chat ? row_of_messages(parsed["messages"]) : row_of_prompt(parsed);
  if (row) row->id = digest_of(row->messages + "\n" + row->prompt + "\n" + row->completion);
  return row;
}

result<site_row> row_of_answer(const served_question& question, const std::string& answer) {
  json line;
  if (question.messages.empty()) {
    line = {{"prompt", question.prompt}, {"completion", answer}};
  } else {
    auto messages = parse_json<json>(question.messages);
    if (!messages.is_array()) return wrong("the served question is no array of messages");
    messages.push_back({{"role", "assistant"}, {"content", answer}});
    line = {{"messages", std::move(messages)}};
  }
  return row_of_line(line.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace collm::store
