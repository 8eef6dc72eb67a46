#include "text/piece_encoder.hpp"

#include <optional>
#include <unordered_set>
#include <utility>

namespace collm::text {
namespace {

std::optional<merges::rule> parse_rule(std::string_view line, const token_index& ids) {
  const std::size_t blank = line.find(' ');
  if (blank == std::string_view::npos) return std::nullopt;
  const std::string_view left = line.substr(0, blank), right = line.substr(blank + 1);
  const std::int32_t l = ids.find(left), r = ids.find(right);
  const std::int32_t merged = ids.find(std::string(left).append(right));
  if (l < 0 || r < 0 || merged < 0) return std::nullopt;
  return merges::rule{l, r, merged};
}

}  // namespace

error refuse_vocabulary(std::string message) {
  return {errc::corrupt, "vocabulary: " + std::move(message)};
}

std::string quoted(std::string_view s) { return std::string(1, '\'').append(s).append(1, '\''); }

result<std::vector<merges::rule>> parse_merges(const vocabulary& vocab, const token_index& ids) {
  std::vector<merges::rule> rules;
  rules.reserve(vocab.merges.size());
  std::unordered_set<std::string_view> seen;
  seen.reserve(vocab.merges.size());
  const auto place = [&](std::size_t i) {
    return "merge " + std::to_string(i) + ", " + quoted(vocab.merges[i]) + ",";
  };
  for (std::size_t i = 0; i < vocab.merges.size(); ++i) {
    const auto rule = parse_rule(vocab.merges[i], ids);
    if (!rule) {
      return refuse_vocabulary(
          place(i) + " must be two plain tokens with one blank between, their join one too");
    }
    if (!seen.insert(vocab.merges[i]).second) {
      return refuse_vocabulary(place(i) + " is there twice");
    }
    rules.push_back(*rule);
  }
  return rules;
}

}  // namespace collm::text
