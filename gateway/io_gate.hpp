// The way onto the Asio thread for callbacks of other threads, which may come after the server has
// stopped. Any thread.
#pragma once

#include <utility>
// Boost 1.74's awaitable.hpp needs <utility> before it.
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <mutex>

namespace collm::gateway {

class io_gate {
 public:
  explicit io_gate(boost::asio::io_context& io) : io_(&io) {}

  /// Runs `f` on the Asio thread; drops it once closed.
  template <class F>
  void post(F&& f) {
    std::lock_guard lock(mutex_);
    if (io_ != nullptr) boost::asio::post(*io_, std::forward<F>(f));
  }

  void close() {
    std::lock_guard lock(mutex_);
    io_ = nullptr;
  }

 private:
  std::mutex mutex_;
  boost::asio::io_context* io_;
};

}  // namespace collm::gateway
