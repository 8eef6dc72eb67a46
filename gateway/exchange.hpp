// One request and the response it will get, as handlers see them. Asio thread only. Calls after the
// client has gone, or after the response is complete, do nothing; that is what late callbacks run
// into.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "gateway/access.hpp"
#include "gateway/api_error.hpp"
#include "gateway/http_message.hpp"

namespace collm::gateway {

class exchange;

/// The connection's side of an exchange.
class exchange_sink {
 public:
  virtual ~exchange_sink() = default;
  virtual void respond(http_response response) = 0;
  virtual void begin_stream(http_response head) = 0;
  virtual void stream_data(std::string data, std::function<void()> written) = 0;
  virtual void end_stream() = 0;
  virtual void reply_within(std::chrono::milliseconds most) = 0;
  /// What was to answer `of` threw.
  virtual void broke(const exchange& of, const std::exception& what) = 0;
};

class exchange {
 public:
  exchange(std::weak_ptr<exchange_sink> to, http_request r, caller c, std::string id)
      : who(std::move(c)), request_id(std::move(id)), request_(std::move(r)), to_(std::move(to)) {}

  const caller who;
  const std::string request_id;
  const std::chrono::steady_clock::time_point arrived = std::chrono::steady_clock::now();

  const http_request& request = request_;
  /// A handler has read it by the time it returns; the answer may take minutes.
  void drop_body() { std::string().swap(request_.body); }

  void reply(http_response response) {
    if (auto to = finish()) to->respond(std::move(response));
  }
  void fail(const api_error& failure) { reply(error_response(failure)); }
  /// Status and headers now, data later; the body of `head` is not sent.
  void begin_stream(http_response head) {
    if (auto to = live()) to->begin_stream(std::move(head));
  }
  /// `written`: the bytes have left for the socket.
  void send(std::string data, std::function<void()> written = {}) {
    if (auto to = live()) to->stream_data(std::move(data), std::move(written));
  }
  void end_stream() {
    if (auto to = finish()) to->end_stream();
  }
  /// 504 unless the response has begun by then.
  void reply_within(std::chrono::milliseconds most) {
    if (auto to = live()) to->reply_within(most);
  }
  void when_gone(std::function<void()> f) { gone_ = std::move(f); }
  /// For late callbacks: what `f` throws ends this request and nothing else.
  template <class F>
  void run(F f) {
    try {
      f();
    } catch (const std::exception& e) {
      if (const auto to = to_.lock()) to->broke(*this, e);
    }
  }

  /// Answered, or nobody is there any more.
  bool over() const { return over_; }
  /// From the connection: the client went away before the response was complete.
  void leave() {
    if (std::exchange(over_, true)) return;
    if (auto f = std::exchange(gone_, nullptr)) f();
  }

 private:
  std::shared_ptr<exchange_sink> live() const { return over_ ? nullptr : to_.lock(); }
  std::shared_ptr<exchange_sink> finish() {
    auto to = live();
    over_ = true;
    gone_ = nullptr;
    return to;
  }
  http_request request_;
  std::weak_ptr<exchange_sink> to_;
  std::function<void()> gone_;
  bool over_ = false;
};

using exchange_ptr = std::shared_ptr<exchange>;

}  // namespace collm::gateway
