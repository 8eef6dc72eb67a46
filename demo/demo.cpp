#include "demo/demo.hpp"

#include <algorithm>
#include <unordered_set>

namespace collm::demo {
namespace {

// Draws for each example asked for, before generate gives up: a tenth of the prompts fall into a
// small split, and the most that one call may ask for still leaves most prompts new.
constexpr std::uint64_t draws_per_example_max = 200;

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/// FNV-1a over lower-case letters and digits, finished by one SplitMix64 step, as FNV's low bits
/// are weak.
std::uint64_t prompt_hash(std::string_view prompt) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : prompt) {
    if (!is_letter_or_digit(c)) continue;
    hash ^= static_cast<unsigned char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    hash *= 0x100000001b3u;
  }
  return rng(hash).next();
}

std::uint64_t mixed_seed(site where, split part, std::uint64_t seed) {
  rng random(seed);
  return random.next() ^
         (static_cast<std::uint64_t>(where) << 8 | static_cast<std::uint64_t>(part));
}

site other(site s) { return s == site::kitchen ? site::workshop : site::kitchen; }

}  // namespace

std::string_view to_string(split s) {
  constexpr std::string_view names[] = {"train", "gate", "canary", "served", "report"};
  return names[static_cast<std::uint8_t>(s)];
}

std::optional<split> split_named(std::string_view name) {
  const auto* found = std::ranges::find(splits, name, [](split s) { return to_string(s); });
  return found == std::end(splits) ? std::nullopt : std::optional(*found);
}

std::optional<site> site_named(std::string_view name) {
  const auto* found = std::ranges::find(sites, name, [](site s) { return to_string(s); });
  return found == sites.end() ? std::nullopt : std::optional(*found);
}

std::uint32_t visitors_percent(split s) { return s == split::train ? 3 : 50; }

split split_of(std::string_view prompt) {
  const std::uint64_t part = prompt_hash(prompt) % 10;
  return part < 6 ? split::train : splits[part - 5];
}

std::string system_line(site where) { return std::string(to_string(where)); }

result<std::vector<example>> generate(site where, split part, std::uint32_t count,
                                      std::uint64_t seed) {
  if (count > examples_max)
    return error{errc::bad_request, "demo: " + std::to_string(count) +
                                        " examples asked for, at most " +
                                        std::to_string(examples_max) + " in one call"};
  rng random(mixed_seed(where, part, seed));
  std::vector<example> examples;
  std::unordered_set<std::string> said;
  for (std::uint64_t draw = 0; examples.size() < count; ++draw) {
    if (draw == draws_per_example_max * count)
      return error{errc::internal, "demo: no " + std::to_string(count) + " distinct prompts in " +
                                       std::string(to_string(part))};
    const bool visit = random.chance(visitors_percent(part));
    utterance u = speak(where, visit ? other(where) : where, random);
    if (split_of(u.text) != part || !said.insert(u.text).second) continue;
    examples.push_back({{{"system", system_line(where)}, {"user", std::move(u.text)}},
                        std::move(u.answer),
                        u.traits});
  }
  return examples;
}

}  // namespace collm::demo
