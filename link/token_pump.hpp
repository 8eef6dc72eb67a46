// Sends one request's answer to a TokenSink with credit: at most 16 calls unanswered, the rest
// waits in its stream_buffer. Loop thread.
#pragma once

#include <kj/async.h>

#include <functional>
#include <memory>

#include "link/stream_buffer.hpp"
#include "messages/link.capnp.h"

namespace collm::link {

class token_pump final : public stream_reader, private kj::TaskSet::ErrorHandler {
 public:
  /// `answered`: called for each chunk that the sink has taken. May be empty.
  token_pump(std::shared_ptr<stream_buffer> from, schema::TokenSink::Client to,
             std::function<void()> answered);
  ~token_pump() noexcept override = default;

  /// Done when every call is answered and the request has ended: outcome() is its Finish or Reject.
  /// A reader that stays away until the buffer runs over gets a Finish with reason slowReader; a
  /// sink that fails breaks the promise. Once.
  kj::Promise<void> run();
  const stream_event& outcome() const { return *last_; }
  void on_stream() override;
  /// Nothing more will come: the request ended by itself. Else its maker has to be told that it is
  /// cancelled.
  bool source_ended() const { return source_ended_; }

 private:
  static constexpr std::uint32_t unanswered_max = 16;

  void send(const stream_event& event);
  void add(kj::Promise<void> call, bool chunk);
  void end_if_done();
  void taskFailed(kj::Exception&& e) override;

  std::shared_ptr<stream_buffer> from_;
  schema::TokenSink::Client to_;
  std::function<void()> answered_;
  kj::Own<kj::PromiseFulfiller<void>> done_;
  std::optional<stream_event> last_;
  std::uint32_t unanswered_ = 0;
  bool source_ended_ = false;
  kj::TaskSet calls_;
};

}  // namespace collm::link
