// demo_dump SITE SPLIT COUNT SEED: the demo's examples as JSONL on standard output, one chat with
// its answer a line; with `traits` for those who want to tell phenomena apart.
// bench/demo_learning.py trains on it.
#include <charconv>
#include <iostream>
#include <nlohmann/json.hpp>

#include "demo/demo.hpp"

namespace {

using namespace collm::demo;
using json = nlohmann::ordered_json;

json line_of(const example& e) {
  json line;
  for (const message& m : e.messages)
    line["messages"].push_back({{"role", m.role}, {"content", m.content}});
  line["messages"].push_back({{"role", "assistant"}, {"content", e.reference}});
  line["traits"] = json::array();
  for (std::uint32_t bit = 1; bit < traits_end; bit <<= 1)
    if (e.traits & bit) line["traits"].push_back(to_string(static_cast<trait>(bit)));
  return line;
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

int usage() {
  std::cerr << "usage: demo_dump kitchen|workshop train|gate|canary|served|report COUNT SEED\n";
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return usage();
  const auto where = site_named(argv[1]);
  const auto part = split_named(argv[2]);
  const auto count = number(argv[3]);
  const auto seed = number(argv[4]);
  if (!where || !part || !count || *count > examples_max || !seed) return usage();
  const auto examples = generate(*where, *part, static_cast<std::uint32_t>(*count), *seed);
  if (!examples) {
    std::cerr << "demo_dump: " << examples.failure().message << "\n";
    return 1;
  }
  for (const example& e : *examples) std::cout << line_of(e).dump() << "\n";
  return std::cout.flush() ? 0 : 1;
}
