#include "text/tokenizer.hpp"

#include <array>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

#include "text/byte_alphabet.hpp"
#include "text/merges.hpp"
#include "text/special_tokens.hpp"
#include "text/splitter.hpp"

namespace collm::text {
namespace {

using index_of = std::unordered_map<std::string_view, std::int32_t>;

error refuse(std::string message) { return {errc::corrupt, "vocabulary: " + std::move(message)}; }

std::string quoted(std::string_view s) { return std::string(1, '\'').append(s).append(1, '\''); }

result<void> check_kind(const vocabulary& vocab) {
  if (vocab.model != "gpt2") {
    return refuse("tokenizer model " + quoted(vocab.model) + " is not built; supported: 'gpt2'");
  }
  if (vocab.pre_tokenizer != "smollm") {
    return refuse("pre-tokenizer " + quoted(vocab.pre_tokenizer) +
                  " is not built; supported: 'smollm'");
  }
  if (vocab.add_bos) return refuse("add_bos_token is true, which 'smollm' does not use; use false");
  return {};
}

result<void> check_sizes(const vocabulary& vocab) {
  const std::size_t size = vocab.tokens.size();
  if (size == 0) return refuse("no tokens");
  if (size > std::numeric_limits<std::int32_t>::max()) return refuse("more than 2^31 - 1 tokens");
  if (vocab.types.size() != size) {
    return refuse(std::to_string(size) + " tokens but " + std::to_string(vocab.types.size()) +
                  " token types; there must be as many");
  }
  using role = std::pair<const char*, std::int32_t>;
  for (const auto& [name, id] : {role{"bos", vocab.bos}, role{"eos", vocab.eos},
                                 role{"unknown", vocab.unknown}, role{"padding", vocab.padding}}) {
    if (id < -1 || (id >= 0 && static_cast<std::size_t>(id) >= size)) {
      return refuse(std::string(name) + " token id " + std::to_string(id) + " is not in 0.." +
                    std::to_string(size - 1) + " (-1: none)");
    }
  }
  return {};
}

// The unknown token is one that no text produces, so it is hidden as control tokens are.
bool is_hidden(token_type type) {
  return type == token_type::control || type == token_type::unknown;
}

/// Spelling to id of all tokens that plain text may become.
result<index_of> index_tokens(const vocabulary& vocab) {
  index_of ids;
  ids.reserve(vocab.tokens.size());
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    const auto [at, added] = ids.emplace(vocab.tokens[i], static_cast<std::int32_t>(i));
    if (vocab.tokens[i].empty()) return refuse("token " + std::to_string(i) + " is empty");
    if (!added) {
      return refuse("tokens " + std::to_string(at->second) + " and " + std::to_string(i) +
                    " are both " + quoted(vocab.tokens[i]));
    }
  }
  // Text that is not parsed for control tokens must not reach one by its bytes or merges either.
  std::erase_if(ids, [&](const auto& entry) {
    return is_hidden(vocab.types[static_cast<std::size_t>(entry.second)]);
  });
  return ids;
}

result<std::vector<std::string>> spell_out(const vocabulary& vocab) {
  std::vector<std::string> bytes(vocab.tokens.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const token_type type = vocab.types[i];
    if (is_special(type) || type == token_type::unused) {
      bytes[i] = vocab.tokens[i];
      continue;
    }
    auto plain = type == token_type::normal ? unspell(vocab.tokens[i]) : std::nullopt;
    if (!plain) {
      return refuse("token " + std::to_string(i) + ", " + quoted(vocab.tokens[i]) +
                    ", is not spelled in GPT-2's byte alphabet");
    }
    bytes[i] = std::move(*plain);
  }
  return bytes;
}

std::array<std::int32_t, 256> index_bytes(const index_of& ids) {
  std::array<std::int32_t, 256> tokens;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto at = ids.find(spell_byte(static_cast<std::uint8_t>(byte)));
    tokens[byte] = at == ids.end() ? merges::no_token : at->second;
  }
  return tokens;
}

std::optional<merges::rule> parse_rule(const std::string& line, const index_of& ids) {
  const std::size_t blank = line.find(' ');
  if (blank == std::string::npos) return std::nullopt;
  const std::string left = line.substr(0, blank);
  const std::string right = line.substr(blank + 1);
  const auto l = ids.find(left), r = ids.find(right), merged = ids.find(left + right);
  if (l == ids.end() || r == ids.end() || merged == ids.end()) return std::nullopt;
  return merges::rule{l->second, r->second, merged->second};
}

result<std::vector<merges::rule>> parse_rules(const vocabulary& vocab, const index_of& ids) {
  std::vector<merges::rule> rules;
  rules.reserve(vocab.merges.size());
  std::unordered_map<std::string_view, std::size_t> seen;
  seen.reserve(vocab.merges.size());
  for (std::size_t i = 0; i < vocab.merges.size(); ++i) {
    const std::string place = "merge " + std::to_string(i) + ", " + quoted(vocab.merges[i]) + ",";
    const auto rule = parse_rule(vocab.merges[i], ids);
    if (!rule) {
      return refuse(place + " must be two plain tokens with one blank between, their join one too");
    }
    if (!seen.emplace(vocab.merges[i], i).second) return refuse(place + " is there twice");
    rules.push_back(*rule);
  }
  return rules;
}

}  // namespace

struct tokenizer::impl {
  vocabulary vocab;
  std::vector<std::string> bytes;  // by token id
  merges rules;
  special_tokens specials;

  void encode_plain(std::string_view text, merges::scratch& work,
                    std::vector<std::int32_t>& out) const {
    splitter pieces(text);
    for (std::string_view piece = pieces.next(); !piece.empty(); piece = pieces.next()) {
      rules.encode(piece, work, out);
    }
  }

  bool contains(std::int32_t id) const {
    return id >= 0 && static_cast<std::size_t>(id) < bytes.size();
  }
};

result<std::shared_ptr<const tokenizer>> tokenizer::make(vocabulary vocab) {
  if (auto ok = check_kind(vocab); !ok) return ok.failure();
  if (auto ok = check_sizes(vocab); !ok) return ok.failure();
  const auto ids = index_tokens(vocab);
  if (!ids) return ids.failure();
  auto bytes = spell_out(vocab);
  if (!bytes) return bytes.failure();
  auto rules = parse_rules(vocab, *ids);
  if (!rules) return rules.failure();
  merges table(index_bytes(*ids), std::move(*rules));
  special_tokens specials(vocab);
  auto state = std::make_unique<impl>(
      impl{std::move(vocab), std::move(*bytes), std::move(table), std::move(specials)});
  return std::shared_ptr<const tokenizer>(new tokenizer(std::move(state)));
}

tokenizer::tokenizer(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
tokenizer::~tokenizer() = default;

std::vector<std::int32_t> tokenizer::encode(std::string_view text, bool parse_special) const {
  std::vector<std::int32_t> out;
  out.reserve(text.size() / 3);
  merges::scratch work;
  for (std::size_t from = 0; from < text.size();) {
    const special_tokens::match found = impl_->specials.find(text, from, parse_special);
    impl_->encode_plain(text.substr(from, found.begin - from), work, out);
    if (found.token >= 0) out.push_back(found.token);
    from = found.end;
  }
  return out;
}

std::string_view tokenizer::token_bytes(std::int32_t id) const {
  return impl_->contains(id) ? std::string_view(impl_->bytes[static_cast<std::size_t>(id)])
                             : std::string_view();
}

std::string tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string out;
  for (const std::int32_t id : ids) {
    if (!skip_special || !is_control(id)) out += token_bytes(id);
  }
  return out;
}

bool tokenizer::is_control(std::int32_t id) const {
  return impl_->contains(id) && is_hidden(impl_->vocab.types[static_cast<std::size_t>(id)]);
}

std::int32_t tokenizer::size() const { return static_cast<std::int32_t>(impl_->bytes.size()); }

const vocabulary& tokenizer::vocab() const { return impl_->vocab; }

}  // namespace collm::text
