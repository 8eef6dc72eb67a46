#include "link/token_pump.hpp"

#include "link/outcome.hpp"

namespace collm::link {
namespace {

/// Room for the call around the parameter, so that one small segment is enough (LINK: 37 MB instead
/// of 97 for 500 streams).
template <class Reader>
capnp::MessageSize with_call(const Reader& content) {
  auto size = content.totalSize();
  size.wordCount += 8;
  return size;
}

}  // namespace

token_pump::token_pump(std::shared_ptr<stream_buffer> from, schema::TokenSink::Client to,
                       std::function<void()> answered)
    : from_(std::move(from)), to_(kj::mv(to)), answered_(std::move(answered)), calls_(*this) {}

kj::Promise<void> token_pump::run() {
  auto pair = kj::newPromiseAndFulfiller<void>();
  done_ = kj::mv(pair.fulfiller);
  on_stream();  // what came before there was a reader
  return kj::mv(pair.promise);
}

void token_pump::on_stream() {
  while (unanswered_ < unanswered_max && !last_) {
    auto event = from_->take();
    if (!event) break;
    send(*event);
  }
  end_if_done();
}

void token_pump::send(const stream_event& event) {
  if (const auto* accepted = std::get_if<msg<schema::Accepted>>(&event)) {
    auto view = accepted->read();
    auto call = to_.acceptedRequest(with_call(*view));
    call.setAccepted(*view);
    add(call.send().ignoreResult(), false);
  } else if (const auto* chunk = std::get_if<msg<schema::TokenChunk>>(&event)) {
    auto view = chunk->read();
    auto call = to_.putRequest(with_call(*view));
    call.setChunk(*view);
    add(call.send().ignoreResult(), true);
  } else {
    last_ = event;
    source_ended_ = true;
  }
}

void token_pump::add(kj::Promise<void> call, bool chunk) {
  ++unanswered_;
  calls_.add(call.then([this, chunk] {
    --unanswered_;
    if (chunk && answered_) answered_();
    on_stream();
  }));
}

void token_pump::end_if_done() {
  if (!done_->isWaiting()) return;
  if (!last_ && from_->overrun()) {
    auto finish = msg<schema::Finish>::build([&](schema::Finish::Builder to) {
      to.setRequest(from_->request());
      to.setReason(schema::FinishReason::SLOW_READER);
      to.setPromptTokens(from_->prompt_tokens());
      to.setCompletionTokens(from_->tokens_taken());
      to.setMessage("the reader took too long: the stream's buffer is full");
    });
    last_ = std::move(finish);
    done_->fulfill();
  } else if (last_ && unanswered_ == 0) {
    done_->fulfill();
  }
}

void token_pump::taskFailed(kj::Exception&& e) {
  if (done_->isWaiting()) done_->reject(kj::mv(e));
}

}  // namespace collm::link
