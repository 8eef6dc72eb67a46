// One completion between the runtime and its client: turns the runtime's messages into a stream or
// a body, gives credit as bytes leave, cancels when the client goes. The port's callbacks come on
// any thread and hop to the Asio thread; everything else is there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "gateway/answer_writer.hpp"
#include "gateway/exchange.hpp"
#include "gateway/http_context.hpp"
#include "gateway/port.hpp"

namespace collm::gateway {

class generation final : public stream, public std::enable_shared_from_this<generation> {
 public:
  generation(http_context& context, exchange_ptr to, answer_identity identity, request_id id,
             bool streamed, std::string seed);

  /// `f` runs once if the answer comes to an end of its own.
  void when_served(std::function<void()> f) { served_ = std::move(f); }
  void submit(msg<schema::Request> request);

  // from the port, any thread
  void accepted(msg<schema::Accepted> m) override;
  void chunk(msg<schema::TokenChunk> m) override;
  void finish(msg<schema::Finish> m) override;
  void reject(msg<schema::Reject> m) override;

 private:
  template <class M, class F>
  void hop(M m, F on_io);
  void on_accepted(schema::Accepted::Reader m);
  void on_chunk(schema::TokenChunk::Reader m);
  void on_finish(schema::Finish::Reader m);
  void on_reject(schema::Reject::Reader m);
  void end_body(schema::Finish::Reader m);
  void end_stream(schema::Finish::Reader m);
  void fail(const api_error& failure);
  http_response head() const;

  http_context& context_;
  const std::shared_ptr<io_gate> gate_;  ///< any thread
  exchange_ptr exchange_;
  answer_identity identity_;
  const request_id id_;
  const bool streamed_;
  const std::string seed_;  ///< of choice 0, decimal
  std::function<void()> served_;
  std::optional<stream_writer> stream_;
  std::optional<body_writer> body_;
};

}  // namespace collm::gateway
