#include "text/byte_level.hpp"

#include <array>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "text/byte_alphabet.hpp"
#include "text/nfc.hpp"
#include "text/special_tokens.hpp"
#include "text/splitter.hpp"

namespace collm::text {
namespace {

struct kind {
  std::string_view name;  // GGUF's tokenizer.ggml.pre
  split_rule rule;
  bool nfc;           // text is composed before it is cut
  bool whole_pieces;  // a piece that is a token is that token, whatever the merges say
};

constexpr std::array<kind, 4> kinds{{{"smollm", split_rule::smollm, false, false},
                                     {"gpt-2", split_rule::gpt2, false, false},
                                     {"qwen2", split_rule::qwen2, true, false},
                                     {"llama-bpe", split_rule::llama3, false, true}}};

result<const kind*> kind_of(const vocabulary& vocab) {
  std::string supported;
  for (const kind& k : kinds) {
    if (k.name == vocab.pre_tokenizer) return &k;
    supported += (supported.empty() ? "" : ", ") + quoted(k.name);
  }
  return refuse_vocabulary("pre-tokenizer " + quoted(vocab.pre_tokenizer) +
                           " is not built; supported: " + supported);
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
      return refuse_vocabulary("token " + std::to_string(i) + ", " + quoted(vocab.tokens[i]) +
                               ", is not spelled in GPT-2's byte alphabet");
    }
    bytes[i] = std::move(*plain);
  }
  return bytes;
}

std::array<std::int32_t, 256> index_letters(const token_index& ids) {
  std::array<std::int32_t, 256> tokens;
  for (unsigned byte = 0; byte < 256; ++byte) {
    tokens[byte] = ids.find(spell_byte(static_cast<std::uint8_t>(byte)));
  }
  return tokens;
}

class byte_level_encoder final : public piece_encoder {
 public:
  byte_level_encoder(const kind& k, const vocabulary& vocab, const token_index& ids,
                     std::vector<merges::rule> rules)
      : kind_(k), letters_(index_letters(ids)), merges_(std::move(rules)) {
    for (std::size_t i = 0; kind_.whole_pieces && i < vocab.tokens.size(); ++i) {
      auto piece = is_hidden(vocab.types[i]) ? std::nullopt : unspell(vocab.tokens[i]);
      if (piece) whole_.emplace(std::move(*piece), static_cast<std::int32_t>(i));
    }
  }

  void encode(std::string_view text, merges::scratch& work,
              std::vector<std::int32_t>& out) const override {
    if (!kind_.nfc || nfc_at_once(text)) return encode_composed(text, work, out);
    encode_composed(to_nfc(text), work, out);
  }

 private:
  void encode_composed(std::string_view text, merges::scratch& work,
                       std::vector<std::int32_t>& out) const {
    splitter pieces(text, kind_.rule);
    for (std::string_view piece = pieces.next(); !piece.empty(); piece = pieces.next()) {
      if (kind_.whole_pieces) {
        if (const auto at = whole_.find(std::string(piece)); at != whole_.end()) {
          out.push_back(at->second);
          continue;
        }
      }
      encode_piece(piece, work, out);
    }
  }

  // A byte without a token is left out, as Hugging Face does when the model has no unknown token.
  void encode_piece(std::string_view piece, merges::scratch& work,
                    std::vector<std::int32_t>& out) const {
    work.letters.clear();
    for (const char c : piece) {
      const std::int32_t token = letters_[static_cast<std::uint8_t>(c)];
      if (token != merges::no_token) work.letters.push_back(token);
    }
    merges_.encode(work.letters, work, out);
  }

  kind kind_;
  std::array<std::int32_t, 256> letters_;
  merges merges_;
  std::unordered_map<std::string, std::int32_t> whole_;  // only if kind_.whole_pieces
};

}  // namespace

result<piece_model> make_byte_level(const vocabulary& vocab) {
  const auto kind = kind_of(vocab);
  if (!kind) return kind.failure();
  const auto ids = token_index::make(vocab);
  if (!ids) return ids.failure();
  auto bytes = spell_out(vocab);
  if (!bytes) return bytes.failure();
  auto rules = parse_merges(vocab, *ids);
  if (!rules) return rules.failure();
  return piece_model{std::move(*bytes),
                     std::make_unique<byte_level_encoder>(**kind, vocab, *ids, std::move(*rules))};
}

}  // namespace collm::text
