// demo_dump SITE SPLIT COUNT SEED: the demo's examples as JSONL on standard output.
// For other trainers than ours, and for a look.
#include <charconv>
#include <iostream>

#include "demo/demo.hpp"

namespace {

using namespace collm::demo;

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
  std::cout << jsonl(*examples);
  return std::cout.flush() ? 0 : 1;
}
