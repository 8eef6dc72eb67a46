#include "text/tokenizer_json.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "messages/json_text.hpp"
#include "text/byte_alphabet.hpp"
#include "text/json_fields.hpp"
#include "text/special_tokens.hpp"
#include "text/tokenizer_pipeline.hpp"

namespace collm::text {
namespace {

using nlohmann::json;

constexpr std::size_t tokenizer_bytes_max = 128u << 20;  // Gemma's, the largest known, has 33 MB
constexpr std::size_t config_bytes_max = 8u << 20;       // Gemma's lists its 6,000 added tokens

std::string in_quotes(const std::string& s) { return "'" + s + "'"; }

/// Tokens by id while they are gathered; a gap is an empty spelling.
class token_list {
 public:
  /// `ids`: how many there can be at most.
  token_list(vocabulary& to, std::size_t ids) : to_(to), ids_(ids) {}

  result<void> add(const std::string& token, const json& id, token_type type) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= ids_ || token.empty()) {
      return refuse_tokenizer("token " + in_quotes(token) + " needs a spelling and an id below " +
                              std::to_string(ids_) + ", the number of tokens");
    }
    const auto at = id.get<std::size_t>();
    if (at >= to_.tokens.size()) {
      to_.tokens.resize(at + 1);
      to_.types.resize(at + 1, token_type::normal);
    }
    if (!to_.tokens[at].empty() && to_.tokens[at] != token) {
      return refuse_tokenizer("tokens " + in_quotes(to_.tokens[at]) + " and " + in_quotes(token) +
                              " both have id " + std::to_string(at));
    }
    to_.tokens[at] = token;
    to_.types[at] = type;
    return {};
  }

  result<void> check_whole() const {
    for (std::size_t i = 0; i < to_.tokens.size(); ++i) {
      if (to_.tokens[i].empty()) {
        return refuse_tokenizer("no token has id " + std::to_string(i) +
                                "; ids must run from 0 without gaps");
      }
    }
    return {};
  }

 private:
  vocabulary& to_;
  std::size_t ids_;
};

bool spells_byte(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with('>') &&
         token.find_first_not_of("0123456789ABCDEF", 3) == 5;
}

result<void> add_vocabulary(const json& model, bool byte_fallback, token_list& to) {
  const json& tokens = field(model, "vocab");
  if (!tokens.is_object() || tokens.empty()) {
    return refuse_tokenizer("model.vocab must be an object of tokens and their ids");
  }
  for (const auto& [token, id] : tokens.items()) {
    const bool byte = byte_fallback && spells_byte(token);
    if (auto ok = to.add(token, id, byte ? token_type::byte : token_type::normal); !ok) return ok;
  }
  return {};
}

// `special` ones are control tokens; the others are matched in what people write, too.
result<void> add_added(const json& tokenizer, bool byte_fallback, token_list& to) {
  const json& list = field(tokenizer, "added_tokens");
  const bool normalizes = !field(tokenizer, "normalizer").is_null();
  if (!list.is_array()) return {};
  for (const json& entry : list) {
    const std::string content = text_of(field(entry, "content"));
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
      if (is_true(field(entry, flag))) {
        return refuse_tokenizer("added token " + in_quotes(content) + " has " + flag +
                                ", which is not built; it must be false");
      }
    }
    if (normalizes && is_true(field(entry, "normalized"))) {
      return refuse_tokenizer("added token " + in_quotes(content) +
                              " is normalized, which is not built; it must be false");
    }
    const bool special = is_true(field(entry, "special"));
    if (byte_fallback && !special && content.find(' ') != std::string::npos) {
      return refuse_tokenizer("added token " + in_quotes(content) +
                              " has a blank, which is not built with byte_fallback");
    }
    const auto type = special ? token_type::control : token_type::user_defined;
    if (auto ok = to.add(content, field(entry, "id"), type); !ok) return ok;
  }
  return {};
}

// Hugging Face gives the unknown token for a byte without one; ours, as its models without an
// unknown token, leaves it out.
result<void> check_bytes(const json& model) {
  if (is_unset(field(model, "unk_token"))) return {};
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (field(model, "vocab").contains(spell_byte(static_cast<std::uint8_t>(byte)))) continue;
    return refuse_tokenizer("byte " + std::to_string(byte) +
                            " has no token, but model.unk_token is set; it must be null then");
  }
  return {};
}

/// "left right", or [left, right]; empty if it is neither.
std::string merge_line(const json& merge) {
  if (merge.is_string()) return merge.get<std::string>();
  if (!merge.is_array() || merge.size() != 2) return {};
  const std::string left = text_of(merge[0]), right = text_of(merge[1]);
  const bool plain = (left + right).find(' ') == std::string::npos;
  return plain && !left.empty() && !right.empty() ? left + ' ' + right : std::string();
}

using token_ids = std::unordered_map<std::string_view, std::size_t>;

// A control token is found whole before anything merges, so a merge that makes or takes one is
// idle.
bool is_idle(const std::string& line, const token_ids& hidden) {
  const std::size_t cut = line.find(' ');
  if (hidden.empty() || cut == std::string::npos) return false;
  const std::string left = line.substr(0, cut), right = line.substr(cut + 1);
  return hidden.contains(left) || hidden.contains(right) || hidden.contains(left + right);
}

result<void> add_merges(const json& model, vocabulary& to) {
  const json& merges = field(model, "merges");
  if (!merges.is_array()) return refuse_tokenizer("model.merges must be an array");
  token_ids hidden;
  for (std::size_t i = 0; i < to.tokens.size(); ++i) {
    if (is_hidden(to.types[i])) hidden.emplace(to.tokens[i], i);
  }
  to.merges.reserve(merges.size());
  for (const json& merge : merges) {
    std::string line = merge_line(merge);
    if (line.empty()) {
      return refuse_tokenizer("merge " + std::to_string(to.merges.size()) +
                              " must be two tokens without blanks: \"a b\" or [\"a\", \"b\"]");
    }
    if (!is_idle(line, hidden)) to.merges.push_back(std::move(line));
  }
  return {};
}

result<void> check_model(const json& model) {
  const json& type = field(model, "type");
  if (!model.is_object() || (!type.is_null() && type != "BPE")) {
    return refuse_tokenizer("model type " + in_quotes(text_of(type)) +
                            " is not built; supported: BPE");
  }
  for (const char* setting : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!is_unset(field(model, setting))) {
      return refuse_tokenizer(std::string("model.") + setting + " is not built; it must be null");
    }
  }
  return {};
}

/// The id of the token that `value` names: a string, or an object with "content"; -1: none.
std::int32_t token_named(const json& value, const token_ids& ids) {
  const std::string name = text_of(value.is_object() ? field(value, "content") : value);
  const auto at = ids.find(name);
  return at == ids.end() ? -1 : static_cast<std::int32_t>(at->second);
}

std::string template_of(const json& config) {
  const json& templates = field(config, "chat_template");
  if (!templates.is_array()) return text_of(templates);
  for (const json& entry : templates) {
    if (field(entry, "name") == "default") return text_of(field(entry, "template"));
  }
  return {};
}

void name_tokens(const json& config, const json& model, const std::string& bos, vocabulary& to) {
  token_ids ids;
  for (std::size_t i = 0; i < to.tokens.size(); ++i) ids.emplace(to.tokens[i], i);
  const std::int32_t first = token_named(bos, ids);
  to.bos = first >= 0 ? first : token_named(field(config, "bos_token"), ids);
  to.eos = token_named(field(config, "eos_token"), ids);
  to.padding = token_named(field(config, "pad_token"), ids);
  to.unknown = token_named(field(model, "unk_token"), ids);
  to.add_bos = first >= 0 || (to.bos >= 0 && is_true(field(config, "add_bos_token")));
  to.chat_template = template_of(config);
}

result<json> parse(const char* name, std::string_view text, std::size_t bytes_max) {
  if (text.size() > bytes_max) {
    return error{errc::too_large, std::string(name) + ": " + std::to_string(text.size()) +
                                      " bytes; at most " + std::to_string(bytes_max)};
  }
  json parsed = parse_json<json>(text);
  if (parsed.is_object()) return parsed;
  return error{errc::corrupt, std::string(name) + ": not a JSON object"};
}

}  // namespace

result<vocabulary> parse_tokenizer_json(std::string_view tokenizer, std::string_view config,
                                        std::string_view chat_template) {
  const auto whole = parse("tokenizer.json", tokenizer, tokenizer_bytes_max);
  if (!whole) return whole.failure();
  const auto settings =
      parse("tokenizer_config.json", config.empty() ? "{}" : config, config_bytes_max);
  if (!settings) return settings.failure();
  const json& model = field(*whole, "model");
  if (auto ok = check_model(model); !ok) return ok.failure();
  auto kind = recognise_pipeline(*whole);
  if (!kind) return kind.failure();
  vocabulary out;
  out.model = std::move(kind->model);
  out.pre_tokenizer = std::move(kind->pre_tokenizer);
  out.add_space_prefix = kind->add_space_prefix;
  token_list tokens(out, field(model, "vocab").size() + field(*whole, "added_tokens").size());
  const bool byte_fallback = out.model == "llama";
  if (auto ok = add_vocabulary(model, byte_fallback, tokens); !ok) return ok.failure();
  if (auto ok = add_added(*whole, byte_fallback, tokens); !ok) return ok.failure();
  if (auto ok = tokens.check_whole(); !ok) return ok.failure();
  if (auto ok = byte_fallback ? result<void>() : check_bytes(model); !ok) return ok.failure();
  if (auto ok = add_merges(model, out); !ok) return ok.failure();
  name_tokens(*settings, model, kind->bos, out);
  if (!chat_template.empty()) out.chat_template = chat_template;
  if (!kind->bos.empty() && !out.add_bos) {
    return refuse_tokenizer("post_processor puts " + in_quotes(kind->bos) +
                            " first; no such token");
  }
  return out;
}

}  // namespace collm::text
