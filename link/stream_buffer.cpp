#include "link/stream_buffer.hpp"

#include "link/outcome.hpp"
#include "messages/token_chunk.hpp"

namespace collm::link {
namespace {

std::uint32_t tokens_in(const stream_event& event) {
  const auto* chunk = std::get_if<msg<schema::TokenChunk>>(&event);
  return chunk ? chunk->read()->getTokens().size() : 0;
}

std::uint32_t weight_of(const stream_event& event) {
  const auto* chunk = std::get_if<msg<schema::TokenChunk>>(&event);
  return chunk ? collm::weight_of(*chunk) : 0;
}

}  // namespace

void stream_buffer::note(const stream_event& event) {
  if (const auto* accepted = std::get_if<msg<schema::Accepted>>(&event)) {
    accepted_ = true;
    prompt_tokens_ = accepted->read()->getPromptTokens();
  }
  ended_ = std::holds_alternative<msg<schema::Finish>>(event) ||
           std::holds_alternative<msg<schema::Reject>>(event);
}

void stream_buffer::push(stream_event event) {
  const auto weight = weight_of(event);
  std::unique_lock lock(mutex_);
  if (ended_ || overrun_) return;
  if (weight_ + weight > tokens_max_) {
    overrun_ = true;
    waking_ = false;  // told at once, also to a reader that waits for credit
  } else {
    note(event);
    weight_ += weight;
    events_.push_back(std::move(event));
  }
  wake(std::move(lock));
}

void stream_buffer::abandon(const std::string& reason) {
  std::unique_lock lock(mutex_);
  if (ended_) return;
  ended_ = true;
  if (accepted_) {
    events_.push_back(make_finish(request_, schema::FinishReason::ERROR, reason));
  } else {
    events_.push_back(make_reject(request_, {errc::unavailable, reason}));
  }
  wake(std::move(lock));
}

// At most one task a stream waits in the loop, so what streams owe is bounded by their number.
void stream_buffer::wake(std::unique_lock<std::mutex> lock) {
  if (waking_) return;
  waking_ = true;
  auto reader = reader_;
  lock.unlock();
  loop_->post_owed([reader] {
    if (auto there = reader.lock()) there->on_stream();
  });
}

void stream_buffer::read_by(std::weak_ptr<stream_reader> reader) {
  std::lock_guard lock(mutex_);
  reader_ = std::move(reader);
}

std::optional<stream_event> stream_buffer::take() {
  std::lock_guard lock(mutex_);
  waking_ = false;
  if (events_.empty()) return std::nullopt;
  auto event = std::move(events_.front());
  events_.pop_front();
  weight_ -= weight_of(event);
  tokens_taken_ += tokens_in(event);
  return event;
}

bool stream_buffer::overrun() const {
  std::lock_guard lock(mutex_);
  return overrun_;
}

bool stream_buffer::ended() const {
  std::lock_guard lock(mutex_);
  return ended_ || overrun_;
}

std::uint32_t stream_buffer::prompt_tokens() const {
  std::lock_guard lock(mutex_);
  return prompt_tokens_;
}

}  // namespace collm::link
