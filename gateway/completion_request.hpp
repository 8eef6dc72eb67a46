// The body of POST /v1/completions and /v1/chat/completions as checked values. Pure: no socket, no
// tokens yet.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "gateway/api_error.hpp"
#include "gateway/prompt.hpp"
#include "messages/inference.capnp.h"
#include "messages/limits.hpp"
#include "messages/msg.hpp"

namespace collm::gateway {

enum class completion_kind : std::uint8_t { text, chat };

struct completion_request {
  completion_kind kind = completion_kind::chat;
  std::string model;
  prompt_encoder::input input;
  std::uint32_t max_tokens = 0;  ///< 0: not given
  std::uint32_t choices = 1;
  float temperature = 1, top_p = 1, min_p = 0;
  std::uint32_t top_k = 0;
  float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  std::optional<std::uint64_t> seed;
  std::int16_t logprobs = -1;  ///< -1: none; else alternatives a token
  std::vector<std::string> stops;
  bool ignore_eos = false;
  bool stream = false;
  bool include_usage = false;
  std::string site;
};

/// Unknown fields are ignored unless they would change what the answer means; those are refused by
/// name.
std::variant<completion_request, api_error> parse_completion(std::string_view body,
                                                             completion_kind kind,
                                                             const limits& bounds);

/// What the server adds to a parsed request.
struct request_origin {
  std::uint64_t id = 0;
  std::uint64_t seed = 0;  ///< used where the client gave none
  std::string tenant;
  std::uint64_t cache_salt = 0;
  bool interactive = true;
  std::uint64_t age_us = 0;
};

msg<schema::Request> build_request(const completion_request& from,
                                   const prompt_encoder::encoded& prompt,
                                   const request_origin& origin);

}  // namespace collm::gateway
