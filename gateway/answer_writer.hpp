// What an OpenAI client reads: the frames of a stream, the body of a whole answer. Pure; owned by
// one generation.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/completion_request.hpp"
#include "messages/inference.capnp.h"
#include "text/tokenizer.hpp"

namespace collm::gateway {

/// What all parts of one answer share.
struct answer_identity {
  completion_kind kind = completion_kind::chat;
  std::string id;            ///< "chatcmpl-..." or "cmpl-..."
  std::int64_t created = 0;  ///< Unix time, s
  std::string model;         ///< "assistant@3", or the base's name: also the fingerprint
  std::uint32_t choices = 1;
  std::int16_t logprobs = -1;
  bool include_usage = false;
};

/// "assistant@3"; the base's own name for an answer of the base alone.
std::string answered_by(schema::Accepted::Reader accepted, const std::string& base_name);

/// OpenAI's log probabilities of one choice, for either kind of completion. Legacy offsets count
/// code points of the answer.
class logprob_writer {
 public:
  logprob_writer(const text::tokenizer& tokens, completion_kind kind)
      : tokens_(&tokens), kind_(kind) {}
  void add(capnp::List<schema::Token>::Reader tokens);
  bool empty() const { return empty_; }
  /// Everything added since the last take.
  nlohmann::ordered_json take();

 private:
  void add_chat(schema::Token::Reader token);
  void add_text(schema::Token::Reader token);
  const text::tokenizer* tokens_;
  completion_kind kind_;
  bool empty_ = true;
  std::uint64_t offset_ = 0;
  nlohmann::ordered_json content_ = nlohmann::ordered_json::array();  ///< chat
  nlohmann::ordered_json texts_ = nlohmann::ordered_json::array(), values_ = texts_, tops_ = texts_,
                         offsets_ = texts_;  ///< text
};

/// Server-sent events. Each call gives whole frames; empty if there is nothing to say yet.
class stream_writer {
 public:
  stream_writer(answer_identity identity, const text::tokenizer& tokens);
  /// A choice beyond the request's is an error of the sender and gives nothing.
  std::string chunk(schema::TokenChunk::Reader chunk);
  /// What ends a stream that ended by itself: missing finish frames, usage, [DONE].
  std::string finish(schema::Finish::Reader finish);

 private:
  struct choice {
    bool started = false, finished = false;
    logprob_writer logprobs;
  };
  std::string frame(std::uint32_t index, nlohmann::ordered_json part,
                    nlohmann::ordered_json logprobs, nlohmann::ordered_json finish_reason) const;
  std::string content(std::uint32_t index, std::string_view text);
  std::string end(std::uint32_t index, schema::FinishReason reason);
  answer_identity identity_;
  std::vector<choice> choices_;
};

/// One JSON body at the end.
class body_writer {
 public:
  body_writer(answer_identity identity, const text::tokenizer& tokens);
  void chunk(schema::TokenChunk::Reader chunk);
  std::string finish(schema::Finish::Reader finish);

 private:
  struct choice {
    std::string text;
    schema::FinishReason reason = schema::FinishReason::NONE;
    logprob_writer logprobs;
  };
  answer_identity identity_;
  std::vector<choice> choices_;
};

/// `data: {json}\n\n`.
std::string sse_data(std::string_view line);

}  // namespace collm::gateway
