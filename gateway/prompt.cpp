#include "gateway/prompt.hpp"

#include <algorithm>
#include <utility>

namespace collm::gateway {
namespace {

// Bytes that no real text spends on a token on average; what is longer cannot fit and is refused
// before it is tokenised.
constexpr std::size_t bytes_per_token_max = 32;

error too_long(const std::string& what) { return {errc::context_length_exceeded, what, 0}; }

std::size_t byte_count(const prompt_encoder::input& in) {
  if (const auto* text = std::get_if<std::string>(&in)) return text->size();
  std::size_t bytes = 0;
  if (const auto* messages = std::get_if<std::vector<text::chat_message>>(&in)) {
    for (const auto& m : *messages) bytes += m.content.size();
  }
  return bytes;
}

result<void> known_ids(const std::vector<std::int32_t>& ids, std::int32_t size) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < size) continue;
    return error{errc::bad_request, "prompt token " + std::to_string(i) +
                                        " is not in the vocabulary; ids go from 0 to " +
                                        std::to_string(size - 1)};
  }
  return {};
}

}  // namespace

result<prompt_encoder::encoded> prompt_encoder::encode(const input& in, std::uint32_t max_tokens,
                                                       std::uint32_t fallback) const {
  const std::size_t longest = std::size_t{bounds.prompt_tokens_max} * bytes_per_token_max;
  if (byte_count(in) > longest) {
    return too_long("the prompt has " + std::to_string(byte_count(in)) + " bytes; at most " +
                    std::to_string(bounds.prompt_tokens_max) + " tokens, so " +
                    std::to_string(longest) + " bytes, are accepted");
  }
  encoded out;
  if (const auto* ids = std::get_if<std::vector<std::int32_t>>(&in)) {
    if (auto known = known_ids(*ids, tokens->size()); !known) return known.failure();
    out.prompt = *ids;
  } else if (const auto* text = std::get_if<std::string>(&in)) {
    out.prompt = tokens->encode_prompt(*text);
  } else {
    auto turns = chat.encode(*tokens, std::get<std::vector<text::chat_message>>(in), true);
    if (!turns) return turns.failure();
    out.prompt = std::move(*turns);
  }
  const auto count = out.prompt.size();
  if (count == 0)
    return error{errc::bad_request, "the prompt is empty; at least one token is needed"};
  if (count > bounds.prompt_tokens_max) {
    return too_long("the prompt has " + std::to_string(count) + " tokens; at most " +
                    std::to_string(bounds.prompt_tokens_max) + " are accepted");
  }
  if (count >= context || max_tokens > context - count) {
    return too_long("this model's context is " + std::to_string(context) +
                    " tokens; the prompt has " + std::to_string(count) + " and " +
                    std::to_string(max_tokens == 0 ? 1 : max_tokens) + " are asked for");
  }
  const auto room = context - static_cast<std::uint32_t>(count);
  out.max_tokens = max_tokens != 0 ? max_tokens : std::max(1u, std::min(fallback, room));
  return out;
}

}  // namespace collm::gateway
