#include "gateway/completion_request.hpp"

#include <array>

#include "gateway/field_reader.hpp"
#include "gateway/json_body.hpp"

namespace collm::gateway {
namespace {

using json = nlohmann::json;

// -- fields that would change the answer and are not built: refused unless they say nothing

using neutral_test = bool (*)(const json&);
bool when_empty(const json& v) { return v == "" || ((v.is_array() || v.is_object()) && v.empty()); }
bool when_false(const json& v) { return v.is_boolean() && !v.get<bool>(); }
bool when_true(const json& v) { return v.is_boolean() && v.get<bool>(); }
bool when_one(const json& v) { return v.is_number() && v.get<double>() == 1; }
bool when_zero(const json& v) { return v.is_number() && v.get<double>() == 0; }
bool when_none_or_auto(const json& v) { return v == "none" || v == "auto"; }
bool when_only_text(const json& v) { return v == json::array({"text"}); }
bool when_text_format(const json& v) { return v.is_object() && v.value("type", json()) == "text"; }
bool never(const json&) { return false; }

struct refused_field {
  const char* name;
  neutral_test harmless;
};

constexpr std::array refused_fields{
    refused_field{"tools", when_empty},
    refused_field{"functions", when_empty},
    refused_field{"tool_choice", when_none_or_auto},
    refused_field{"function_call", when_none_or_auto},
    refused_field{"response_format", when_text_format},
    refused_field{"logit_bias", when_empty},
    refused_field{"best_of", when_one},
    refused_field{"echo", when_false},
    refused_field{"suffix", when_empty},
    refused_field{"modalities", when_only_text},
    refused_field{"audio", never},
    refused_field{"web_search_options", never},
    refused_field{"use_beam_search", when_false},
    refused_field{"min_tokens", when_zero},
    refused_field{"length_penalty", when_one},
    refused_field{"stop_token_ids", when_empty},
    refused_field{"bad_words", when_empty},
    refused_field{"allowed_token_ids", when_empty},
    refused_field{"include_stop_str_in_output", when_false},
    refused_field{"skip_special_tokens", when_true},
    refused_field{"add_generation_prompt", when_true},
    refused_field{"continue_final_message", when_false},
    refused_field{"chat_template", never},
    refused_field{"chat_template_kwargs", when_empty},
    refused_field{"documents", when_empty},
    refused_field{"prompt_logprobs", never},
    refused_field{"prompt_embeds", never},
    refused_field{"truncate_prompt_tokens", never},
    refused_field{"guided_json", never},
    refused_field{"guided_regex", never},
    refused_field{"guided_choice", never},
    refused_field{"guided_grammar", never},
    refused_field{"structured_outputs", never},
    refused_field{"grammar", when_empty},
    refused_field{"json_schema", never},
    refused_field{"lora", when_empty},
};

void refuse_unbuilt(field_reader& fields) {
  for (const auto& entry : refused_fields) {
    const auto* value = fields.find(entry.name);
    if (value != nullptr && !entry.harmless(*value)) {
      fields.fail(entry.name, std::string("'") + entry.name +
                                  "' would change the answer and is not supported; leave it out");
    }
  }
}

// -- parts of the body

void read_stops(field_reader& fields, const limits& bounds, completion_request& out) {
  const auto* value = fields.find("stop");
  if (value == nullptr) return;
  const json list = value->is_array() ? *value : json::array({*value});
  if (list.size() > bounds.stop_strings_max) {
    return fields.fail("stop", "at most " + std::to_string(bounds.stop_strings_max) +
                                   " stop strings are accepted, not " +
                                   std::to_string(list.size()));
  }
  for (const auto& stop : list) {
    if (!stop.is_string())
      return fields.fail("stop", "'stop' must be a string or a list of strings");
    const auto& text = stop.get_ref<const std::string&>();
    if (text.empty() || text.size() > bounds.stop_string_bytes_max) {
      return fields.fail("stop", "a stop string has 1 to " +
                                     std::to_string(bounds.stop_string_bytes_max) + " bytes, not " +
                                     std::to_string(text.size()));
    }
    out.stops.push_back(text);
  }
}

void read_sampling(field_reader& fields, const limits& bounds, completion_request& out) {
  out.temperature = static_cast<float>(fields.number("temperature", 1, 0, 2));
  out.top_p = static_cast<float>(fields.number("top_p", 1, 0, 1));
  if (out.top_p == 0) fields.fail("top_p", "'top_p' must be above 0 and at most 1");
  out.min_p = static_cast<float>(fields.number("min_p", 0, 0, 1));
  // vLLM spells "off" as -1 or 0.
  const auto top_k = fields.integer("top_k", 0, -1, INT32_MAX);
  out.top_k = top_k < 0 ? 0 : static_cast<std::uint32_t>(top_k);
  out.repetition_penalty = static_cast<float>(fields.number("repetition_penalty", 1, 0.01, 100));
  out.presence_penalty = static_cast<float>(fields.number("presence_penalty", 0, -2, 2));
  out.frequency_penalty = static_cast<float>(fields.number("frequency_penalty", 0, -2, 2));
  out.seed = fields.bits("seed");
  out.choices = static_cast<std::uint32_t>(fields.integer("n", 1, 1, bounds.choices_max));
  out.ignore_eos = fields.boolean("ignore_eos", false);
}

void read_max_tokens(field_reader& fields, completion_request& out) {
  auto tokens = fields.integer("max_tokens", 0, 1, INT32_MAX);
  if (out.kind == completion_kind::chat) {
    tokens = fields.integer("max_completion_tokens", tokens, 1, INT32_MAX);
  }
  out.max_tokens = static_cast<std::uint32_t>(tokens);
}

void read_logprobs(field_reader& fields, const limits& bounds, completion_request& out) {
  const std::int64_t most = bounds.top_logprobs_max;
  if (out.kind == completion_kind::text) {
    out.logprobs = static_cast<std::int16_t>(fields.integer("logprobs", -1, 0, most));
    return;
  }
  const bool wanted = fields.boolean("logprobs", false);
  const auto top = fields.integer("top_logprobs", 0, 0, most);
  if (!wanted && top > 0) fields.fail("top_logprobs", "'top_logprobs' needs 'logprobs': true");
  if (wanted) out.logprobs = static_cast<std::int16_t>(top);
}

void read_stream(field_reader& fields, completion_request& out) {
  out.stream = fields.boolean("stream", false);
  const auto* options = fields.find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) {
    return fields.fail("stream_options", "'stream_options' must be an object");
  }
  if (!out.stream) return fields.fail("stream_options", "'stream_options' needs 'stream': true");
  field_reader inner(*options, "stream_options.");
  out.include_usage = inner.boolean("include_usage", false);
  if (inner.failure()) fields.fail("stream_options.include_usage", inner.failure()->message);
}

std::optional<std::string> content_text(const json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return std::nullopt;
  std::string text;
  for (const auto& part : content) {
    if (!part.is_object() || part.value("type", json()) != "text") return std::nullopt;
    const auto it = part.find("text");
    if (it == part.end() || !it->is_string()) return std::nullopt;
    text += it->get_ref<const std::string&>();
  }
  return text;
}

// OpenAI renamed "system" to "developer"; the template knows the first.
std::optional<std::string> known_role(const json& role) {
  if (role == "developer") return "system";
  if (role == "system" || role == "user" || role == "assistant") return role.get<std::string>();
  return std::nullopt;
}

void read_messages(field_reader& fields, const limits& bounds, completion_request& out) {
  const auto* list = fields.find("messages");
  if (list == nullptr || !list->is_array() || list->empty()) {
    return fields.fail("messages", "'messages' must be a list of at least one message");
  }
  if (list->size() > bounds.messages_max) {
    return fields.fail("messages", "at most " + std::to_string(bounds.messages_max) +
                                       " messages are accepted, not " +
                                       std::to_string(list->size()));
  }
  std::vector<text::chat_message> messages;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const auto& entry = (*list)[i];
    const std::string at = "messages[" + std::to_string(i) + "]";
    if (!entry.is_object()) return fields.fail(at, "'" + at + "' must be an object");
    const auto role = known_role(entry.value("role", json()));
    if (!role) {
      return fields.fail(at + ".role",
                         "'" + at + ".role' must be system, developer, user or assistant");
    }
    for (const char* unbuilt : {"tool_calls", "function_call", "audio"}) {
      if (entry.contains(unbuilt) && !entry[unbuilt].is_null() && !entry[unbuilt].empty()) {
        return fields.fail(at + "." + unbuilt,
                           std::string("'") + at + "." + unbuilt + "' is not supported");
      }
    }
    auto content = content_text(entry.value("content", json()));
    if (!content) {
      return fields.fail(
          at + ".content",
          "'" + at + ".content' must be a string or a list of {\"type\": \"text\"} parts");
    }
    messages.push_back({*role, std::move(*content)});
  }
  out.input = std::move(messages);
}

std::optional<std::vector<std::int32_t>> token_ids(const json& list) {
  std::vector<std::int32_t> ids;
  ids.reserve(list.size());
  for (const auto& entry : list) {
    if (!entry.is_number_integer()) return std::nullopt;
    const bool small = entry.is_number_unsigned() ? entry.get<std::uint64_t>() <= INT32_MAX
                                                  : entry.get<std::int64_t>() >= 0;
    // What no vocabulary holds is refused with the others by the encoder.
    ids.push_back(small ? entry.get<std::int32_t>() : -1);
  }
  return ids;
}

void read_prompt(field_reader& fields, completion_request& out) {
  const auto* prompt = fields.find("prompt");
  const std::string expected = "'prompt' must be a string or a list of token ids";
  if (prompt == nullptr) return fields.fail("prompt", expected);
  const bool wrapped = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  if (wrapped && prompt->size() > 1) {
    return fields.fail("prompt", "one prompt a request is accepted, not " +
                                     std::to_string(prompt->size()) +
                                     "; send one request for each");
  }
  const json& one = wrapped ? prompt->front() : *prompt;
  if (one.is_string()) {
    out.input = one.get<std::string>();
    return;
  }
  auto ids = one.is_array() ? token_ids(one) : std::nullopt;
  if (!ids) return fields.fail("prompt", expected);
  out.input = std::move(*ids);
}

}  // namespace

std::variant<completion_request, api_error> parse_completion(std::string_view body,
                                                             completion_kind kind,
                                                             const limits& bounds) {
  auto document = parse_object(body, bounds.json_depth_max);
  if (!document) return api_error::of(document.failure());
  field_reader fields(*document);
  completion_request out;
  out.kind = kind;
  out.model = fields.string("model");
  out.site = fields.string("site");
  if (kind == completion_kind::chat) {
    read_messages(fields, bounds, out);
  } else {
    read_prompt(fields, out);
  }
  read_max_tokens(fields, out);
  read_sampling(fields, bounds, out);
  read_stops(fields, bounds, out);
  read_logprobs(fields, bounds, out);
  read_stream(fields, out);
  refuse_unbuilt(fields);
  if (fields.failure()) return *fields.failure();
  return out;
}

msg<schema::Request> build_request(const completion_request& from,
                                   const prompt_encoder::encoded& prompt,
                                   const request_origin& origin) {
  return msg<schema::Request>::build([&](schema::Request::Builder b) {
    b.setId(origin.id);
    b.setModel(from.model);
    auto tokens = b.initPrompt(static_cast<unsigned>(prompt.prompt.size()));
    for (unsigned i = 0; i < tokens.size(); ++i) {
      tokens.set(i, static_cast<std::uint32_t>(prompt.prompt[i]));
    }
    b.setMaxTokens(prompt.max_tokens);
    auto sampling = b.initSampling();
    sampling.setTemperature(from.temperature);
    sampling.setTopK(from.top_k);
    sampling.setTopP(from.top_p);
    sampling.setMinP(from.min_p);
    sampling.setRepetitionPenalty(from.repetition_penalty);
    sampling.setPresencePenalty(from.presence_penalty);
    sampling.setFrequencyPenalty(from.frequency_penalty);
    sampling.setSeed(from.seed.value_or(origin.seed));
    sampling.setLogprobs(from.logprobs);
    auto stops = b.initStops(static_cast<unsigned>(from.stops.size()));
    for (unsigned i = 0; i < stops.size(); ++i) stops.set(i, from.stops[i]);
    b.setIgnoreEos(from.ignore_eos);
    b.setChoices(static_cast<std::uint16_t>(from.choices));
    b.setSite(from.site);
    b.setTenant(origin.tenant);
    b.setCacheSalt(origin.cache_salt);
    b.setAgeUs(origin.age_us);
    b.setInteractive(origin.interactive);
  });
}

}  // namespace collm::gateway
