#include <nlohmann/json.hpp>

#include "demo/demo.hpp"

namespace collm::demo {

std::string jsonl(const std::vector<example>& examples) {
  std::string out;
  for (const example& e : examples) {
    nlohmann::ordered_json line;
    for (const message& m : e.messages)
      line["messages"].push_back({{"role", m.role}, {"content", m.content}});
    line["messages"].push_back({{"role", "assistant"}, {"content", e.reference}});
    line["traits"] = nlohmann::ordered_json::array();
    for (std::uint32_t bit = 1; bit < traits_end; bit <<= 1)
      if (e.traits & bit) line["traits"].push_back(to_string(static_cast<trait>(bit)));
    out += line.dump() + "\n";
  }
  return out;
}

}  // namespace collm::demo
