#include "text/sentence_piece.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <optional>
#include <unordered_map>
#include <utility>

#include "text/special_tokens.hpp"
#include "text/utf8.hpp"

namespace collm::text {
namespace {

constexpr char32_t blank_point = 0x2581;
constexpr std::string_view blank = "\xE2\x96\x81";

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (std::size_t at; (at = text.find(from)) != std::string_view::npos;) {
    out.append(text.substr(0, at)).append(to);
    text.remove_prefix(at + from.size());
  }
  return out.append(text);
}

std::optional<std::uint8_t> parse_byte(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || !spelling.ends_with('>')) {
    return std::nullopt;
  }
  unsigned value = 0;
  for (const char c : spelling.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'A' && c <= 'F')) return std::nullopt;
    value = value * 16 + static_cast<unsigned>(digit ? c - '0' : c - 'A' + 10);
  }
  return static_cast<std::uint8_t>(value);
}

using byte_tokens = std::array<std::int32_t, 256>;

result<byte_tokens> find_bytes(const vocabulary& vocab) {
  byte_tokens tokens;
  tokens.fill(merges::no_token);
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    if (vocab.types[i] != token_type::byte) continue;
    const auto byte = parse_byte(vocab.tokens[i]);
    if (!byte) {
      return refuse_vocabulary("token " + std::to_string(i) + ", " + quoted(vocab.tokens[i]) +
                               ", is a byte; bytes are spelled <0x00> to <0xFF>");
    }
    tokens[*byte] = static_cast<std::int32_t>(i);
  }
  const auto missing = std::ranges::find(tokens, merges::no_token);
  if (missing == tokens.end()) return tokens;
  return refuse_vocabulary("byte " + std::to_string(missing - tokens.begin()) +
                           " has no token; byte fallback needs all of <0x00> to <0xFF>");
}

std::vector<std::string> spell_out(const vocabulary& vocab) {
  std::vector<std::string> bytes(vocab.tokens.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::string& spelling = vocab.tokens[i];
    if (vocab.types[i] == token_type::byte) {
      bytes[i] = std::string(1, static_cast<char>(*parse_byte(spelling)));
    } else {
      bytes[i] = is_hidden(vocab.types[i]) ? spelling : replace_all(spelling, blank, " ");
    }
  }
  return bytes;
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<std::uint8_t>(c) & 0xC0) != 0x80; }));
}

/// The lower the better.
std::pair<bool, float> score_rank(const vocabulary& vocab, std::int32_t id) {
  const auto i = static_cast<std::size_t>(id);
  const bool added = vocab.types[i] == token_type::user_defined;
  return {!added, added ? 0 : -vocab.scores[i]};
}

struct cut {
  merges::rule rule;
  std::size_t left, right;  // characters of the parts
};

/// Every cut of a token into two tokens is a rule. Byte tokens take no part.
void add_cuts(const vocabulary& vocab, const token_index& ids, std::int32_t id,
              std::vector<cut>& out) {
  const auto plain = [&](std::string_view part) {
    const std::int32_t found = ids.find(part);
    const bool byte =
        found >= 0 && vocab.types[static_cast<std::size_t>(found)] == token_type::byte;
    return byte ? token_index::none : found;
  };
  const std::string_view whole = vocab.tokens[static_cast<std::size_t>(id)];
  const std::size_t characters = count_characters(whole);
  std::size_t left = 1;
  for (std::size_t at = 1; at < whole.size(); ++at) {
    if ((static_cast<std::uint8_t>(whole[at]) & 0xC0) == 0x80) continue;
    const std::int32_t l = plain(whole.substr(0, at));
    const std::int32_t r = l < 0 ? l : plain(whole.substr(at));
    if (r >= 0) out.push_back({{l, r, id}, left, characters - left});
    ++left;
  }
}

/// Tokens that may be made, best first. SentencePiece's own score of user-defined tokens is the
/// highest, but GGUF does not keep it.
std::vector<std::int32_t> by_score(const vocabulary& vocab) {
  std::vector<std::int32_t> order;
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    if (is_hidden(vocab.types[i]) || vocab.types[i] == token_type::byte) continue;
    order.push_back(static_cast<std::int32_t>(i));
  }
  std::ranges::stable_sort(order, {}, [&](std::int32_t id) { return score_rank(vocab, id); });
  return order;
}

// Hugging Face's converter sorts by score, then by the parts' lengths, all falling, ties by id.
std::vector<merges::rule> rules_of(const vocabulary& vocab, const token_index& ids) {
  const std::vector<std::int32_t> order = by_score(vocab);
  std::vector<merges::rule> rules;
  std::vector<cut> cuts;  // of the tokens of one score
  for (std::size_t i = 0; i < order.size(); ++i) {
    add_cuts(vocab, ids, order[i], cuts);
    const bool last =
        i + 1 == order.size() || score_rank(vocab, order[i]) != score_rank(vocab, order[i + 1]);
    if (!last) continue;
    std::ranges::stable_sort(cuts, std::greater{},
                             [](const cut& c) { return std::pair(c.left, c.right); });
    for (const cut& c : cuts) rules.push_back(c.rule);
    cuts.clear();
  }
  return rules;
}

result<std::vector<merges::rule>> rules_of_scores(const vocabulary& vocab, const token_index& ids) {
  if (vocab.scores.size() != vocab.tokens.size()) {
    return refuse_vocabulary(std::to_string(vocab.tokens.size()) + " tokens, no merges and " +
                             std::to_string(vocab.scores.size()) +
                             " scores; there must be as many scores as tokens");
  }
  const auto odd = std::ranges::find_if(vocab.scores, [](float s) { return std::isnan(s); });
  if (odd != vocab.scores.end()) {
    return refuse_vocabulary("the score of token " + std::to_string(odd - vocab.scores.begin()) +
                             " is not a number");
  }
  return rules_of(vocab, ids);
}

class sentence_piece_encoder final : public piece_encoder {
 public:
  sentence_piece_encoder(const vocabulary& vocab, const byte_tokens& bytes,
                         std::vector<merges::rule> rules)
      : bytes_(bytes), prefix_(vocab.add_space_prefix), merges_(std::move(rules)) {
    for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
      const utf8_step step = utf8_next(vocab.tokens[i]);
      const bool alone = step.state == utf8_state::whole && step.size == vocab.tokens[i].size();
      if (alone && !is_hidden(vocab.types[i])) {
        characters_.emplace(step.point, static_cast<std::int32_t>(i));
      }
    }
  }

  void encode(std::string_view text, merges::scratch& work,
              std::vector<std::int32_t>& out) const override {
    if (text.empty()) return;
    work.letters.clear();
    if (prefix_) add(blank_point, blank, work.letters);
    while (!text.empty()) {
      const utf8_step step = utf8_next(text);
      const std::string_view character = text.substr(0, step.size);
      if (step.state != utf8_state::whole) {
        add_bytes(character, work.letters);
      } else if (step.point == ' ') {
        add(blank_point, blank, work.letters);
      } else {
        add(step.point, character, work.letters);
      }
      text.remove_prefix(step.size);
    }
    merges_.encode(work.letters, work, out);
  }

 private:
  void add(char32_t point, std::string_view utf8, std::vector<std::int32_t>& letters) const {
    const auto found = characters_.find(point);
    if (found == characters_.end()) return add_bytes(utf8, letters);
    letters.push_back(found->second);
  }

  void add_bytes(std::string_view bytes, std::vector<std::int32_t>& letters) const {
    for (const char c : bytes) letters.push_back(bytes_[static_cast<std::uint8_t>(c)]);
  }

  byte_tokens bytes_;
  bool prefix_;
  merges merges_;
  std::unordered_map<char32_t, std::int32_t> characters_;  // tokens of one character
};

}  // namespace

void restore_blanks(vocabulary& vocab) {
  for (std::size_t i = 0; i < vocab.tokens.size() && i < vocab.types.size(); ++i) {
    if (vocab.types[i] != token_type::user_defined) continue;
    vocab.tokens[i] = replace_all(vocab.tokens[i], " ", blank);
  }
}

result<piece_model> make_sentence_piece(const vocabulary& vocab) {
  const auto ids = token_index::make(vocab);
  if (!ids) return ids.failure();
  const auto bytes = find_bytes(vocab);
  if (!bytes) return bytes.failure();
  auto rules = vocab.merges.empty() ? rules_of_scores(vocab, *ids) : parse_merges(vocab, *ids);
  if (!rules) return rules.failure();
  return piece_model{spell_out(vocab),
                     std::make_unique<sentence_piece_encoder>(vocab, *bytes, std::move(*rules))};
}

}  // namespace collm::text
