// One connection: reads requests, one at a time in order, hands each to its handler, writes the
// response. Bounds every wait and every buffer. Asio thread only.
//
// While a response is under way the socket is still read, up to one header's worth, so that a
// client which goes away is noticed; what it sent ahead (pipelining) waits in the buffer.
#pragma once

#include <utility>
// Boost 1.74's awaitable.hpp needs <utility> before it.
#include <array>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/byte_stream.hpp"
#include "gateway/exchange.hpp"
#include "gateway/routes.hpp"

namespace collm::gateway {

class http_session final : public exchange_sink, public std::enable_shared_from_this<http_session> {
 public:
  using ms = std::chrono::milliseconds;

  /// `closed` is called once, when the socket is.
  http_session(http_context& context, std::unique_ptr<byte_stream> peer,
               std::function<void(http_session*)> closed);

  void start();
  /// Answers with `failure` whatever comes, then closes: the server is full.
  void turn_away(const api_error& failure);
  void close();
  /// The server stops: an answer that is complete still goes out, a request that has begun to
  /// arrive is answered, all else is closed.
  void finish();
  /// How readily it makes room for who comes, the least first: it waits for a request; then one has
  /// begun of which nobody knows yet who sends it, or it is refused. nullopt: a request is under
  /// way.
  struct readiness {
    bool begun = false;
    std::chrono::steady_clock::time_point since;
    auto operator<=>(const readiness&) const = default;
  };
  std::optional<readiness> gives_way() const;
  const boost::asio::ip::address& peer() const { return peer_; }

 private:
  enum class state : std::uint8_t { idle, header, body, busy, lingering, closed };
  struct piece {
    std::string data;
    std::function<void()> written;
  };
  using parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using error_code = boost::system::error_code;

  /// Every way into the session that is not its caller's own goes through here: what `f` throws
  /// ends the request that it met and nothing else.
  template <class F>
  void walled(F f) {
    try {
      f();
    } catch (const std::exception& e) {
      threw(e);
    }
  }
  void threw(const std::exception& what) noexcept;
  void open(std::function<void(http_session&)> then);
  // reading
  void read_more();
  void on_read(error_code ec, std::size_t bytes);
  void advance();
  bool step();
  bool step_header();
  bool step_body();
  void begin_request();
  void header_complete();
  void dispatch();
  void refuse(const api_error& failure);
  void refuse_parse(error_code ec);
  http_request take_header();
  void count_body();
  void leave_tenant();
  void note_act(unsigned status);

  // writing: exchange_sink
  void respond(http_response response) override;
  void broke(const exchange& of, const std::exception& what) override;
  void begin_stream(http_response head) override;
  void stream_data(std::string data, std::function<void()> written) override;
  void end_stream() override;
  void reply_within(ms most) override;
  void answer(http_response response);
  void push(std::string data, std::function<void()> written = {});
  void push_first(std::string data);
  void complete();
  void flush();
  void on_written(error_code ec);
  void response_done();
  void linger();
  void add_headers(http_response& response) const;

  void arm(boost::asio::steady_timer& timer, ms after, void (http_session::*then)());
  void read_deadline_passed();
  void reply_deadline_passed();
  void drop();

  http_context& context_;
  const std::unique_ptr<byte_stream> stream_;
  const boost::asio::ip::address peer_;
  std::function<void(http_session*)> closed_;
  boost::asio::steady_timer read_timer_, write_timer_;
  state state_ = state::idle;
  std::chrono::steady_clock::time_point waits_since_ = std::chrono::steady_clock::now();

  std::array<char, 16384> read_area_;
  std::string in_;
  bool reading_ = false, eof_ = false;
  std::size_t header_bytes_ = 0, lingered_bytes_ = 0;
  std::optional<parser> parser_;
  http_request request_;
  admission admission_;
  std::optional<std::chrono::steady_clock::time_point> entered_;  ///< counted for its tenant since
  std::size_t body_bytes_ = 0;                                    ///< ours of the context's
  std::string request_id_;
  std::optional<admin_act> act_;  ///< until its outcome is known

  std::deque<piece> out_;
  std::vector<piece> in_flight_;
  bool writing_ = false;  ///< what is in flight
  bool keep_alive_ = true, chunked_ = false, head_only_ = false, complete_ = false;
  bool begun_ = false;  ///< bytes of the response wait, or have left
  bool turned_away_ = false;
  bool ending_ = false;  ///< its server stops
  exchange_ptr current_;
};

}  // namespace collm::gateway
