#include "text/tokenizer_pipeline.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "text/json_fields.hpp"

namespace collm::text {
namespace {

using nlohmann::json;

constexpr std::string_view supported =
    "byte-level BPE as GPT-2, SmolLM2, Qwen2 (NFC), Llama 3 have it, and SentencePiece BPE with "
    "byte fallback as Llama 2 and Gemma have it";
constexpr std::string_view qwen2_expression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view llama3_expression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view blank = "\xE2\x96\x81";

error refuse_part(const char* part, const json& value) {
  constexpr std::size_t shown_bytes_max = 160;  // a log line, not a page
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > shown_bytes_max) text = text.substr(0, shown_bytes_max) + "...";
  return refuse_tokenizer(std::string(part) + " " + text +
                          " is not built; supported: " + std::string(supported));
}

/// A Sequence's members, or the value alone; none for null.
std::vector<json> steps_of(const json& value, const char* members) {
  if (value.is_null()) return {};
  if (text_of(field(value, "type")) != "Sequence") return {value};
  const json& list = field(value, members);
  return list.is_array() ? list.get<std::vector<json>>() : std::vector<json>{value};
}

bool is_type(const json& step, std::string_view type) {
  return text_of(field(step, "type")) == type;
}

bool replaces_blanks(const json& step) {
  return is_type(step, "Replace") && text_of(field(field(step, "pattern"), "String")) == " " &&
         text_of(field(step, "content")) == blank;
}

enum class normal_form { none, nfc, blanks, prefixed_blanks, other };

normal_form normal_form_of(const json& tokenizer) {
  const auto steps = steps_of(field(tokenizer, "normalizer"), "normalizers");
  if (steps.empty()) return normal_form::none;
  if (steps.size() == 1 && is_type(steps[0], "NFC")) return normal_form::nfc;
  if (steps.size() == 1 && replaces_blanks(steps[0])) return normal_form::blanks;
  const bool prefixed = steps.size() == 2 && is_type(steps[0], "Prepend") &&
                        text_of(field(steps[0], "prepend")) == blank && replaces_blanks(steps[1]);
  return prefixed ? normal_form::prefixed_blanks : normal_form::other;
}

bool is_byte_level(const json& step, bool with_expression) {
  const json& expression = field(step, "use_regex");
  return is_type(step, "ByteLevel") && is_unset(field(step, "add_prefix_space")) &&
         (expression.is_null() || is_true(expression)) == with_expression;
}

bool splits_by(const json& step, std::string_view expression) {
  return is_type(step, "Split") && text_of(field(step, "behavior")) == "Isolated" &&
         is_unset(field(step, "invert")) &&
         text_of(field(field(step, "pattern"), "Regex")) == expression;
}

/// The name of the byte-level pre-tokenizer; empty if it is none of ours.
std::string byte_level_name(const std::vector<json>& steps) {
  if (steps.size() == 1 && is_byte_level(steps[0], true)) return "gpt-2";
  if (steps.size() != 2) return {};
  if (is_type(steps[0], "Digits") && is_true(field(steps[0], "individual_digits")) &&
      is_byte_level(steps[1], true)) {
    return "smollm";
  }
  if (!is_byte_level(steps[1], false)) return {};
  if (splits_by(steps[0], qwen2_expression)) return "qwen2";
  return splits_by(steps[0], llama3_expression) ? "llama-bpe" : "";
}

result<void> check_byte_level(const json& tokenizer, const std::string& name) {
  const json& model = field(tokenizer, "model");
  const normal_form form = normal_form_of(tokenizer);
  if (form != (name == "qwen2" ? normal_form::nfc : normal_form::none)) {
    return refuse_part("normalizer", field(tokenizer, "normalizer"));
  }
  if (!is_type(field(tokenizer, "decoder"), "ByteLevel")) {
    return refuse_part("decoder", field(tokenizer, "decoder"));
  }
  if (is_true(field(model, "ignore_merges")) != (name == "llama-bpe")) {
    return refuse_tokenizer(
        "ignore_merges must be true with the expression of Llama 3, and only "
        "there");
  }
  return {};
}

// Gemma splits at blanks after it has replaced them all: no cut at all.
bool cuts_nothing(const std::vector<json>& steps) {
  if (steps.empty()) return true;
  return steps.size() == 1 && is_type(steps[0], "Split") &&
         text_of(field(field(steps[0], "pattern"), "String")) == " ";
}

result<void> check_sentence_piece(const json& tokenizer, bool prefixed) {
  const auto cuts = steps_of(field(tokenizer, "pre_tokenizer"), "pretokenizers");
  if (!cuts_nothing(cuts)) return refuse_part("pre_tokenizer", field(tokenizer, "pre_tokenizer"));
  std::string decoder;
  for (const json& step : steps_of(field(tokenizer, "decoder"), "decoders")) {
    decoder += text_of(field(step, "type")) + " ";
  }
  if (decoder != (prefixed ? "Replace ByteFallback Fuse Strip " : "Replace ByteFallback Fuse ")) {
    return refuse_part("decoder", field(tokenizer, "decoder"));
  }
  if (is_true(field(field(tokenizer, "model"), "ignore_merges"))) {
    return refuse_tokenizer("ignore_merges must be false with byte_fallback");
  }
  return {};
}

/// What is put before a single text: nothing, or one token.
result<std::string> first_token(const json& processor) {
  std::string bos;
  for (const json& step : steps_of(processor, "processors")) {
    if (is_type(step, "ByteLevel")) continue;  // moves offsets only
    const json& single = field(step, "single");
    if (!is_type(step, "TemplateProcessing") || !single.is_array() || single.empty() ||
        single.size() > 2 || field(single.back(), "Sequence").is_null()) {
      return refuse_part("post_processor", processor);
    }
    if (single.size() == 1) continue;
    bos = text_of(field(field(single[0], "SpecialToken"), "id"));
    if (bos.empty()) return refuse_part("post_processor", processor);
  }
  return bos;
}

}  // namespace

error refuse_tokenizer(const std::string& message) {
  return {errc::corrupt, "tokenizer.json: " + message};
}

result<pipeline> recognise_pipeline(const json& tokenizer) {
  pipeline out;
  auto bos = first_token(field(tokenizer, "post_processor"));
  if (!bos) return bos.failure();
  out.bos = std::move(*bos);
  if (!is_true(field(field(tokenizer, "model"), "byte_fallback"))) {
    out.model = "gpt2";
    const json& cut = field(tokenizer, "pre_tokenizer");
    out.pre_tokenizer = byte_level_name(steps_of(cut, "pretokenizers"));
    if (out.pre_tokenizer.empty()) return refuse_part("pre_tokenizer", cut);
    if (auto ok = check_byte_level(tokenizer, out.pre_tokenizer); !ok) return ok.failure();
    return out;
  }
  out.model = "llama";
  const normal_form form = normal_form_of(tokenizer);
  out.add_space_prefix = form == normal_form::prefixed_blanks;
  if (form != normal_form::blanks && !out.add_space_prefix) {
    return refuse_part("normalizer", field(tokenizer, "normalizer"));
  }
  if (auto ok = check_sentence_piece(tokenizer, out.add_space_prefix); !ok) return ok.failure();
  return out;
}

}  // namespace collm::text
