// The process's one kj event loop: a thread on which every RPC object of link/ lives. Other threads
// (actors, the gateway) only hand it work. It never waits for an actor; an actor never waits for
// it. Owner: whoever composes the process; made before and destroyed after every object of link/,
// and destroyed before the caf::actor_system whose handles those objects hold.
#pragma once

#include <kj/async-io.h>
#include <kj/exception.h>

#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace collm::link {

/// What other threads hold of the loop. May outlive it; then it refuses. Any thread.
class inbox {
 public:
  using task = std::function<void()>;

  /// Runs `fn` on the loop thread. False, and `fn` is dropped: the loop has stopped or `tasks_max`
  /// wait already. For new work.
  bool post(task fn);
  /// The same without the bound, for work whose number its sender bounds: what is owed to requests
  /// already taken in.
  bool post_owed(task fn);

  static constexpr std::size_t tasks_max =
      16384;  // far above what streams in flight owe at any time

 private:
  friend class loop;
  bool put(task fn, std::size_t at_most);
  /// Loop thread: all waiting tasks; if none, arms the one wake-up of the next batch.
  std::vector<task> take(kj::Promise<void>& woken);
  void close();

  std::mutex mutex_;
  std::vector<task> tasks_;
  kj::Maybe<kj::Own<kj::CrossThreadPromiseFulfiller<void>>> wake_;
  bool closed_ = false;
};

class loop {
 public:
  /// Starts the thread; returns when it runs.
  loop();
  /// Runs what is queued, then joins. Objects of link/ are gone by now.
  ~loop();
  loop(const loop&) = delete;
  loop& operator=(const loop&) = delete;

  std::shared_ptr<inbox> outside() const { return inbox_; }

  /// Runs `fn` on the loop thread and waits for it. For starting and stopping, from threads that
  /// may wait; never from an actor.
  template <class F>
  auto call(F&& fn) -> decltype(fn()) {
    std::packaged_task<decltype(fn())()> work(std::forward<F>(fn));
    auto outcome = work.get_future();
    if (on_loop_thread()) {
      work();
    } else {
      inbox_->post_owed([&work] { work(); });
    }
    return outcome.get();
  }

  // -- loop thread only
  kj::AsyncIoProvider& io() { return *io_->provider; }
  kj::Timer& timer() { return io_->provider->getTimer(); }
  kj::WaitScope& scope() { return io_->waitScope; }

 private:
  bool on_loop_thread() const { return std::this_thread::get_id() == thread_.get_id(); }
  void run(std::promise<void>& ready);

  std::shared_ptr<inbox> inbox_;
  kj::AsyncIoContext* io_ = nullptr;  // on the loop thread's stack
  bool stopping_ = false;             // loop thread only
  std::thread thread_;
};

}  // namespace collm::link
