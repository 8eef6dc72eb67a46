#include "gateway/answer_writer.hpp"

#include <algorithm>
#include <cmath>

#include "messages/ids.hpp"

namespace collm::gateway {
namespace {

using json = nlohmann::ordered_json;

std::string dumped(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

const char* reason_name(schema::FinishReason reason) {
  return reason == schema::FinishReason::LENGTH ? "length" : "stop";
}

// JSON has no infinity; OpenAI writes -9999 for a token that cannot come.
double finite(float logprob) { return std::isfinite(logprob) ? logprob : -9999.0; }

bool is_utf8(std::string_view bytes) {
  return dumped(json(std::string(bytes))).find("\xEF\xBF\xBD") == std::string::npos ||
         bytes.find("\xEF\xBF\xBD") != std::string_view::npos;
}

// Legacy completions show a token as one string only: a token that is no text by itself is spelled
// by its bytes.
std::string spelled(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  static constexpr char digits[] = "0123456789abcdef";
  std::string out = "bytes:";
  for (const char c : bytes) {
    const auto b = static_cast<unsigned char>(c);
    out += "\\x";
    out += digits[b >> 4];
    out += digits[b & 15];
  }
  return out;
}

json byte_list(std::string_view bytes) {
  json out = json::array();
  for (const char c : bytes) out.push_back(static_cast<unsigned char>(c));
  return out;
}

std::uint64_t code_points(std::string_view bytes) {
  return static_cast<std::uint64_t>(std::count_if(bytes.begin(), bytes.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

json token_entry(const text::tokenizer& tokens, std::uint32_t id, float logprob) {
  const auto bytes = tokens.token_bytes(static_cast<std::int32_t>(id));
  json out;
  out["token"] = std::string(bytes);
  out["logprob"] = finite(logprob);
  out["bytes"] = byte_list(bytes);
  return out;
}

json usage_json(schema::Finish::Reader finish) {
  json out;
  out["prompt_tokens"] = finish.getPromptTokens();
  out["completion_tokens"] = finish.getCompletionTokens();
  out["total_tokens"] = finish.getPromptTokens() + finish.getCompletionTokens();
  out["prompt_tokens_details"]["cached_tokens"] = finish.getCachedTokens();
  return out;
}

json envelope(const answer_identity& identity, const char* object) {
  json out;
  out["id"] = identity.id;
  out["object"] = object;
  out["created"] = identity.created;
  out["model"] = identity.model;
  out["system_fingerprint"] = identity.model;
  return out;
}

}  // namespace

std::string answered_by(schema::Accepted::Reader accepted, const std::string& base_name) {
  const version_id version{accepted.getAdapter(), accepted.getVersion()};
  return version.is_base() ? base_name : to_string(version);
}

std::string sse_data(std::string_view line) { return "data: " + std::string(line) + "\n\n"; }

// -- logprobs

void logprob_writer::add(capnp::List<schema::Token>::Reader tokens) {
  for (const auto token : tokens) {
    empty_ = false;
    kind_ == completion_kind::chat ? add_chat(token) : add_text(token);
  }
}

void logprob_writer::add_chat(schema::Token::Reader token) {
  json entry = token_entry(*tokens_, token.getId(), token.getLogprob());
  json top = json::array();
  for (const auto other : token.getTop()) {
    top.push_back(token_entry(*tokens_, other.getToken(), other.getLogprob()));
  }
  entry["top_logprobs"] = std::move(top);
  content_.push_back(std::move(entry));
}

void logprob_writer::add_text(schema::Token::Reader token) {
  const auto bytes = tokens_->token_bytes(static_cast<std::int32_t>(token.getId()));
  json top = json::object();
  for (const auto other : token.getTop()) {
    top[spelled(tokens_->token_bytes(static_cast<std::int32_t>(other.getToken())))] =
        finite(other.getLogprob());
  }
  // OpenAI always lists the token that was chosen, so there may be one more than asked for.
  top[spelled(bytes)] = finite(token.getLogprob());
  texts_.push_back(spelled(bytes));
  values_.push_back(finite(token.getLogprob()));
  tops_.push_back(std::move(top));
  offsets_.push_back(offset_);
  offset_ += code_points(bytes);
}

json logprob_writer::take() {
  json out;
  if (kind_ == completion_kind::chat) {
    out["content"] = std::exchange(content_, json::array());
    out["refusal"] = nullptr;
  } else {
    out["tokens"] = std::exchange(texts_, json::array());
    out["token_logprobs"] = std::exchange(values_, json::array());
    out["top_logprobs"] = std::exchange(tops_, json::array());
    out["text_offset"] = std::exchange(offsets_, json::array());
  }
  empty_ = true;
  return out;
}

// -- stream

stream_writer::stream_writer(answer_identity identity, const text::tokenizer& tokens)
    : identity_(std::move(identity)),
      choices_(identity_.choices, choice{false, false, logprob_writer(tokens, identity_.kind)}) {}

std::string stream_writer::frame(std::uint32_t index, json part, json logprobs,
                                 json finish_reason) const {
  const bool chat = identity_.kind == completion_kind::chat;
  json one;
  one["index"] = index;
  one[chat ? "delta" : "text"] = std::move(part);
  one["logprobs"] = std::move(logprobs);
  one["finish_reason"] = std::move(finish_reason);
  json out = envelope(identity_, chat ? "chat.completion.chunk" : "text_completion");
  out["choices"] = json::array({std::move(one)});
  if (identity_.include_usage) out["usage"] = nullptr;
  return sse_data(dumped(out));
}

std::string stream_writer::content(std::uint32_t index, std::string_view text) {
  choice& c = choices_[index];
  std::string out;
  const bool chat = identity_.kind == completion_kind::chat;
  if (chat && !c.started) {
    json delta;
    delta["role"] = "assistant";
    delta["content"] = "";
    out += frame(index, std::move(delta), nullptr, nullptr);
  }
  c.started = true;
  if (text.empty() && c.logprobs.empty()) return out;
  json part = chat ? json{{"content", text}} : json(text);
  json logprobs = c.logprobs.empty() ? json(nullptr) : c.logprobs.take();
  return out + frame(index, std::move(part), std::move(logprobs), nullptr);
}

std::string stream_writer::end(std::uint32_t index, schema::FinishReason reason) {
  choice& c = choices_[index];
  if (c.finished) return {};
  c.finished = true;
  const bool chat = identity_.kind == completion_kind::chat;
  return frame(index, chat ? json::object() : json(""), nullptr, reason_name(reason));
}

std::string stream_writer::chunk(schema::TokenChunk::Reader chunk) {
  const std::uint32_t index = chunk.getChoice();
  if (index >= choices_.size() || choices_[index].finished) return {};
  if (identity_.logprobs >= 0) choices_[index].logprobs.add(chunk.getTokens());
  const auto text = chunk.getText();
  std::string out = content(index, {text.begin(), text.size()});
  if (chunk.getFinish() != schema::FinishReason::NONE) out += end(index, chunk.getFinish());
  return out;
}

std::string stream_writer::finish(schema::Finish::Reader finish) {
  std::string out;
  for (std::uint32_t i = 0; i < choices_.size(); ++i) {
    if (!choices_[i].finished) out += content(i, {}) + end(i, finish.getReason());
  }
  if (identity_.include_usage) {
    json last =
        envelope(identity_, identity_.kind == completion_kind::chat ? "chat.completion.chunk"
                                                                    : "text_completion");
    last["choices"] = json::array();
    last["usage"] = usage_json(finish);
    out += sse_data(dumped(last));
  }
  return out + sse_data("[DONE]");
}

// -- body

body_writer::body_writer(answer_identity identity, const text::tokenizer& tokens)
    : identity_(std::move(identity)),
      choices_(identity_.choices,
               choice{{}, schema::FinishReason::NONE, logprob_writer(tokens, identity_.kind)}) {}

void body_writer::chunk(schema::TokenChunk::Reader chunk) {
  if (chunk.getChoice() >= choices_.size()) return;
  choice& c = choices_[chunk.getChoice()];
  if (identity_.logprobs >= 0) c.logprobs.add(chunk.getTokens());
  c.text.append(chunk.getText().begin(), chunk.getText().size());
  if (chunk.getFinish() != schema::FinishReason::NONE) c.reason = chunk.getFinish();
}

std::string body_writer::finish(schema::Finish::Reader finish) {
  const bool chat = identity_.kind == completion_kind::chat;
  json list = json::array();
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    choice& c = choices_[i];
    json one;
    one["index"] = i;
    if (chat) {
      json message;
      message["role"] = "assistant";
      message["content"] = std::move(c.text);
      message["refusal"] = nullptr;
      one["message"] = std::move(message);
    } else {
      one["text"] = std::move(c.text);
    }
    one["logprobs"] = identity_.logprobs < 0 ? json(nullptr) : c.logprobs.take();
    one["finish_reason"] =
        reason_name(c.reason == schema::FinishReason::NONE ? finish.getReason() : c.reason);
    list.push_back(std::move(one));
  }
  json out = envelope(identity_, chat ? "chat.completion" : "text_completion");
  out["choices"] = std::move(list);
  out["usage"] = usage_json(finish);
  return dumped(out);
}

}  // namespace collm::gateway
