#include "link/loop.hpp"

#include "messages/assert.hpp"

namespace collm::link {
namespace {

// By default kj looks at timers and other sockets only once nothing is left to do: a stream that
// never pauses would keep back every beat.
constexpr kj::uint events_in_a_row_max = 64;

}  // namespace

bool inbox::put(task fn, std::size_t at_most) {
  kj::Maybe<kj::Own<kj::CrossThreadPromiseFulfiller<void>>> wake;
  {
    std::lock_guard lock(mutex_);
    if (closed_ || tasks_.size() >= at_most) return false;
    tasks_.push_back(std::move(fn));
    wake = kj::mv(wake_);
    wake_ = nullptr;
  }
  KJ_IF_MAYBE (sleeper, wake) (*sleeper)->fulfill();
  return true;
}

bool inbox::post(task fn) { return put(std::move(fn), tasks_max); }

bool inbox::post_owed(task fn) { return put(std::move(fn), static_cast<std::size_t>(-1)); }

std::vector<inbox::task> inbox::take(kj::Promise<void>& woken) {
  std::vector<task> batch;
  std::lock_guard lock(mutex_);
  if (!tasks_.empty()) {
    batch.swap(tasks_);
    return batch;
  }
  auto pair = kj::newPromiseAndCrossThreadFulfiller<void>();
  wake_ = kj::mv(pair.fulfiller);
  woken = kj::mv(pair.promise);
  return batch;
}

void inbox::close() {
  std::vector<task> dropped;
  std::lock_guard lock(mutex_);
  closed_ = true;
  dropped.swap(tasks_);
  wake_ = nullptr;
}

loop::loop() : inbox_(std::make_shared<inbox>()) {
  std::promise<void> ready;
  auto started = ready.get_future();
  thread_ = std::thread([this, &ready] { run(ready); });
  started.get();
}

loop::~loop() {
  COLLM_ASSERT(!on_loop_thread());
  inbox_->post_owed([this] { stopping_ = true; });
  thread_.join();
}

// Tasks run outside any promise's continuation, so a starting task may wait on the scope.
void loop::run(std::promise<void>& ready) {
  auto io = kj::setupAsyncIo();
  io.waitScope.setBusyPollInterval(events_in_a_row_max);
  io_ = &io;
  ready.set_value();
  while (!stopping_) {
    kj::Promise<void> woken = nullptr;
    auto batch = inbox_->take(woken);
    if (batch.empty()) {
      woken.wait(io.waitScope);
      continue;
    }
    for (auto& task : batch) task();
    kj::Promise<void> turned =
        timer().afterDelay(0 * kj::SECONDS);  // due at the next look at the sockets
    turned.wait(io.waitScope);
  }
  inbox_->close();
}

}  // namespace collm::link
