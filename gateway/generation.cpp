#include "gateway/generation.hpp"

namespace collm::gateway {
namespace {

api_error broken_off(schema::Finish::Reader m) {
  switch (m.getReason()) {
    case schema::FinishReason::SLOW_READER:
      return api_error::of(
          {errc::slow_reader, "the stream was not read fast enough and was ended", 0});
    case schema::FinishReason::CANCELLED:
      return api_error::of({errc::cancelled, "the request was cancelled by the server", 0});
    default:
      break;
  }
  const std::string why = m.getMessage();
  return api_error::of(
      {errc::internal, why.empty() ? "the request failed in the runtime" : why, 0});
}

bool ended_by_itself(schema::FinishReason reason) {
  return reason == schema::FinishReason::STOP || reason == schema::FinishReason::LENGTH;
}

}  // namespace

generation::generation(http_context& context, exchange_ptr to, answer_identity identity,
                       request_id id, bool streamed, std::string seed)
    : context_(context),
      gate_(context.gate),
      exchange_(std::move(to)),
      identity_(std::move(identity)),
      id_(id),
      streamed_(streamed),
      seed_(std::move(seed)) {}

void generation::submit(msg<schema::Request> request) {
  exchange_->when_gone([&runtime = context_.runtime, id = id_] { runtime.cancel(id); });
  context_.runtime.submit(std::move(request), shared_from_this());
}

// A message may have come over the link, so reading it can fail: then this request fails, nothing
// else.
template <class M, class F>
void generation::hop(M m, F on_io) {
  gate_->post([self = shared_from_this(), m = std::move(m), on_io] {
    if (self->exchange_->over()) return;
    self->exchange_->run([&] {
      const auto handled = guard([&] {
        const auto view = m.read();
        (self.get()->*on_io)(*view);
      });
      if (handled) return;
      self->context_.runtime.cancel(self->id_);
      self->fail(api_error::of({errc::internal, handled.failure().message, 0}));
    });
  });
}

void generation::accepted(msg<schema::Accepted> m) { hop(std::move(m), &generation::on_accepted); }
void generation::chunk(msg<schema::TokenChunk> m) { hop(std::move(m), &generation::on_chunk); }
void generation::finish(msg<schema::Finish> m) { hop(std::move(m), &generation::on_finish); }
void generation::reject(msg<schema::Reject> m) { hop(std::move(m), &generation::on_reject); }

http_response generation::head() const {
  http_response out;
  out.headers.emplace_back("x-collm-seed", seed_);
  if (streamed_) {
    out.content_type = "text/event-stream; charset=utf-8";
    out.headers.emplace_back("cache-control", "no-cache");
    out.headers.emplace_back("x-accel-buffering", "no");
  }
  return out;
}

void generation::on_accepted(schema::Accepted::Reader m) {
  if (stream_ || body_) return;
  identity_.model = answered_by(m, context_.encoder.base_name);
  if (!streamed_) {
    body_.emplace(identity_, *context_.encoder.tokens);
    return;
  }
  stream_.emplace(identity_, *context_.encoder.tokens);
  exchange_->begin_stream(head());
}

void generation::on_chunk(schema::TokenChunk::Reader m) {
  context_.access.charge(exchange_->who, m.getTokens().size(), authenticator::clock::now());
  if (body_) {
    body_->chunk(m);
    return context_.runtime.credit(id_, 1);
  }
  if (!stream_)
    return fail(
        api_error::of({errc::internal, "tokens came before their request was accepted", 0}));
  auto frames = stream_->chunk(m);
  if (frames.empty()) return context_.runtime.credit(id_, 1);
  exchange_->send(std::move(frames),
                  [&runtime = context_.runtime, id = id_] { runtime.credit(id, 1); });
}

void generation::on_finish(schema::Finish::Reader m) {
  if (served_ && ended_by_itself(m.getReason())) std::exchange(served_, nullptr)();
  if (stream_) return end_stream(m);
  if (body_ && ended_by_itself(m.getReason())) return end_body(m);
  fail(broken_off(m));
}

void generation::end_body(schema::Finish::Reader m) {
  auto out = head();
  out.body = body_->finish(m);
  exchange_->reply(std::move(out));
}

void generation::end_stream(schema::Finish::Reader m) {
  if (!ended_by_itself(m.getReason())) return fail(broken_off(m));
  exchange_->send(stream_->finish(m));
  exchange_->end_stream();
}

void generation::on_reject(schema::Reject::Reader m) {
  fail(api_error::of({errc_of(std::string_view(m.getCode().begin(), m.getCode().size())),
                      m.getMessage(), m.getRetryAfterMs()}));
}

// In a stream that is open already the status has gone: the error is an event and [DONE] is
// missing.
void generation::fail(const api_error& failure) {
  if (!stream_) return exchange_->fail(failure);
  exchange_->send(sse_data(error_json(failure)));
  exchange_->end_stream();
}

}  // namespace collm::gateway
