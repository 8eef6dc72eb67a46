#include "text/piece_encoder.hpp"

#include <optional>
#include <utility>

#include "text/special_tokens.hpp"

namespace collm::text {
namespace {

std::optional<merges::rule> parse_rule(const std::string& line, const token_index& ids) {
  const std::size_t blank = line.find(' ');
  if (blank == std::string::npos) return std::nullopt;
  const std::string left = line.substr(0, blank);
  const std::string right = line.substr(blank + 1);
  const auto l = ids.find(left), r = ids.find(right), merged = ids.find(left + right);
  if (l == ids.end() || r == ids.end() || merged == ids.end()) return std::nullopt;
  return merges::rule{l->second, r->second, merged->second};
}

}  // namespace

error refuse_vocabulary(std::string message) {
  return {errc::corrupt, "vocabulary: " + std::move(message)};
}

std::string quoted(std::string_view s) { return std::string(1, '\'').append(s).append(1, '\''); }

result<token_index> index_tokens(const vocabulary& vocab) {
  token_index ids;
  ids.reserve(vocab.tokens.size());
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    const auto [at, added] = ids.emplace(vocab.tokens[i], static_cast<std::int32_t>(i));
    if (vocab.tokens[i].empty()) {
      return refuse_vocabulary("token " + std::to_string(i) + " is empty");
    }
    if (!added) {
      return refuse_vocabulary("tokens " + std::to_string(at->second) + " and " +
                               std::to_string(i) + " are both " + quoted(vocab.tokens[i]));
    }
  }
  std::erase_if(ids, [&](const auto& entry) {
    return is_hidden(vocab.types[static_cast<std::size_t>(entry.second)]);
  });
  return ids;
}

result<std::vector<merges::rule>> parse_merges(const vocabulary& vocab, const token_index& ids) {
  std::vector<merges::rule> rules;
  rules.reserve(vocab.merges.size());
  std::unordered_map<std::string_view, std::size_t> seen;
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
    if (!seen.emplace(vocab.merges[i], i).second) {
      return refuse_vocabulary(place(i) + " is there twice");
    }
    rules.push_back(*rule);
  }
  return rules;
}

}  // namespace collm::text
