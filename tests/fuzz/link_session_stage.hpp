// For link_session_fuzz: one thread for all that a connection meets, link's loop with the actors on
// it. Between two turns nothing happens, so an input has one course, whenever it is run.
#pragma once

#include <kj/async-io.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <string_view>

#include "link/loop.hpp"
#include "messages/assert.hpp"
#include "tests/support/virtual_system.hpp"

namespace collm::fuzz {

class stage {
 public:
  caf::actor_system& system() { return actors_.get(); }
  link::loop& loop() { return loop_; }

  /// Runs `fn` on the loop's thread, where everything of this file and of the rigs lives.
  template <class F>
  auto run(F&& fn) {
    return loop_.call(std::forward<F>(fn));
  }

  /// Until nobody has anything left to do.
  void settle() {
    std::promise<void> settled;
    auto done = settled.get_future();
    take_turns(0, 0, std::move(settled));
    COLLM_ASSERT(done.wait_for(patience) == std::future_status::ready);
  }

  /// Something came to a wire.
  void note(std::size_t bytes) { heard_ += bytes; }

 private:
  static constexpr int turns_max = 100'000;
  static constexpr std::chrono::minutes patience{1};  // milliseconds are usual

  /// What is handed to the loop runs before a turn, so one quiet turn is not enough.
  void take_turns(int turns, int quiet, std::promise<void> settled) {
    COLLM_ASSERT(turns < turns_max);
    auto held = std::make_shared<std::promise<void>>(std::move(settled));
    loop_.outside()->post_owed([this, turns, quiet, held] {
      const int now_quiet = turn() ? 0 : quiet + 1;
      if (now_quiet == 2) return held->set_value();
      take_turns(turns + 1, now_quiet, std::move(*held));
    });
  }
  /// Loop thread; true if something happened.
  bool turn() {
    const auto before = heard_;
    bool busy = false;
    for (;;) {
      loop_.scope().poll();
      if (!scheduler().has_job()) break;
      busy = true;
      actors_.settle();
    }
    return busy || heard_ != before;
  }
  caf::scheduler::test_coordinator& scheduler() {
    return dynamic_cast<caf::scheduler::test_coordinator&>(system().scheduler());
  }

  testing_support::virtual_system actors_;
  link::loop loop_;
  std::uint64_t heard_ = 0;
};

/// A peer's end of a connection: says bytes as they are, keeps what it hears. Loop thread.
class wire {
 public:
  wire(stage& on, kj::Own<kj::AsyncIoStream> stream)
      : on_(on), stream_(kj::mv(stream)), said_(kj::READY_NOW), heard_all_(listen()) {}

  /// `bytes` outlives this.
  void say(std::string_view bytes) {
    said_ = said_.then([this, bytes] { return stream_->write(bytes.data(), bytes.size()); })
                .eagerlyEvaluate([this](kj::Exception&&) { ended_ = true; });
  }
  const std::string& heard() const { return heard_; }
  bool ended() const { return ended_; }  ///< by the other side

 private:
  static constexpr std::size_t heard_max = std::size_t{64} << 20;

  kj::Promise<void> listen() {
    return read().eagerlyEvaluate([this](kj::Exception&&) { ended_ = true; });
  }
  kj::Promise<void> read() {
    return stream_->tryRead(buffer_, 1, sizeof buffer_)
        .then([this](std::size_t bytes) -> kj::Promise<void> {
          ended_ = bytes == 0;
          if (ended_) return kj::READY_NOW;
          on_.note(bytes);
          heard_.append(buffer_, bytes);
          COLLM_ASSERT(heard_.size() < heard_max);
          return read();
        });
  }

  stage& on_;
  kj::Own<kj::AsyncIoStream> stream_;
  std::string heard_;
  bool ended_ = false;
  char buffer_[4096];
  kj::Promise<void> said_, heard_all_;
};

/// The first message of a stream, by its segment table; all of it where there is no whole one.
inline std::string_view first_message(std::string_view stream) {
  constexpr std::uint32_t segments_max = 512, words_max = 1u << 24;
  const auto number = [&](std::size_t at) {
    std::uint32_t out = 0;
    std::memcpy(&out, stream.data() + at, sizeof out);
    return out;
  };
  if (stream.size() < 8 || number(0) >= segments_max) return stream;
  const std::size_t table = (number(0) / 2 + 1) * 8;
  if (stream.size() < table) return stream;
  std::size_t bytes = table;
  for (std::uint32_t s = 0; s <= number(0); ++s) {
    const auto words = number(4 + std::size_t{s} * 4);
    if (words > words_max) return stream;
    bytes += std::size_t{words} * 8;
  }
  return stream.substr(0, bytes);
}

}  // namespace collm::fuzz
