// One request's answer on its way from the threads that make it to the loop: ordered, bounded, with
// one wake-up however much waits. Not here: RPC (token_pump takes from it).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>

#include "link/loop.hpp"
#include "messages/inference.capnp.h"
#include "messages/msg.hpp"

namespace collm::link {

using stream_event = std::variant<msg<schema::Accepted>, msg<schema::TokenChunk>,
                                  msg<schema::Finish>, msg<schema::Reject>>;

/// What the loop thread does when something new is there. Dies on the loop thread.
class stream_reader {
 public:
  virtual ~stream_reader() = default;
  virtual void on_stream() = 0;
};

class stream_buffer {
 public:
  stream_buffer(std::shared_ptr<inbox> loop, std::uint64_t request, std::uint32_t tokens_max)
      : loop_(std::move(loop)), request_(request), tokens_max_(tokens_max) {}

  // -- any thread
  /// In the order of inference.capnp. A chunk beyond the bound marks the stream as overrun and is
  /// dropped, with all after it.
  void push(stream_event event);
  /// Whoever should have ended the request is gone: ends it if nobody did.
  void abandon(const std::string& reason);
  std::uint64_t request() const { return request_; }

  // -- loop thread
  void read_by(std::weak_ptr<stream_reader> reader);
  std::optional<stream_event> take();
  bool overrun() const;
  bool ended() const;  ///< nothing more will be pushed, whatever still waits to be taken
  std::uint32_t prompt_tokens() const;  ///< of Accepted
  std::uint32_t tokens_taken() const { return tokens_taken_; }

 private:
  void wake(std::unique_lock<std::mutex> lock);
  void note(const stream_event& event);

  const std::shared_ptr<inbox> loop_;
  const std::uint64_t request_;
  const std::uint32_t tokens_max_;

  mutable std::mutex mutex_;
  std::deque<stream_event> events_;
  std::uint32_t weight_ = 0;  // of events_, at most tokens_max_
  std::uint32_t prompt_tokens_ = 0;
  bool accepted_ = false, ended_ = false, overrun_ = false, waking_ = false;
  std::weak_ptr<stream_reader> reader_;

  std::uint32_t tokens_taken_ = 0;  // loop thread only
};

}  // namespace collm::link
