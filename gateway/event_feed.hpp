// GET /admin/v1/events: `event: status` each interval and `event: event` for each new one, to a
// bounded number of subscribers. A subscriber that has not read the last batch gets no new one, so
// a slow one costs a fixed amount. Asio thread only.
#pragma once

#include <utility>
// Boost 1.74's awaitable.hpp needs <utility> before it.
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <vector>

#include "gateway/exchange.hpp"
#include "gateway/http_context.hpp"

namespace collm::gateway {

class event_feed {
 public:
  event_feed(http_context& context, boost::asio::io_context& io);

  /// Refuses beyond limits::event_subscribers_max. `after`: events up to this seq are known to the
  /// client.
  void subscribe(const exchange_ptr& to, std::uint32_t after);
  void stop();

 private:
  struct subscriber {
    exchange_ptr to;
    std::uint32_t after = 0;
    std::uint32_t unwritten = 0;  ///< batches on their way to the socket
  };
  using subscriber_ptr = std::shared_ptr<subscriber>;
  struct inquiry {
    bool pending = false;
    std::chrono::steady_clock::time_point since{};
    bool begin(std::chrono::milliseconds patience);
  };

  void tick();
  void poll();
  void ask_status();
  void ask_events();
  void schedule();
  void send_status(const msg<schema::ClusterStatus>& status);
  void send_events(std::uint32_t after, const std::vector<msg<schema::Event>>& events);
  void send_new(const subscriber_ptr& to, const std::vector<msg<schema::Event>>& events);
  void send(const subscriber_ptr& to, std::string frames);
  void forget_gone();

  http_context& context_;
  boost::asio::steady_timer timer_;
  std::vector<subscriber_ptr> subscribers_;
  inquiry status_asked_, events_asked_;
  bool running_ = false;
  std::shared_ptr<bool> alive_ =
      std::make_shared<bool>(true);  ///< for callbacks that outlive the feed
};

}  // namespace collm::gateway
