#include "gateway/http_session.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <cctype>
#include <new>

namespace collm::gateway {

namespace asio = boost::asio;
namespace http = boost::beast::http;

namespace {

// How fast bodies arrive is their senders' choice, so this is a polite constant.
constexpr std::uint32_t busy_retry_ms = 1000;

// Ids that clients send are echoed only if they can stand in a header and a log line.
bool usable_id(const std::string& id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// Why somebody before or behind us might see another end of this request than we do; null: nobody
/// can. Stricter than RFC 9112, which lets a receiver repair some of it.
const char* ambiguous_framing(const http_request& r) {
  const auto* coding = r.header("transfer-encoding");
  const auto* length = r.header("content-length");
  const auto digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  if (r.header_count("content-length") > 1 || r.header_count("transfer-encoding") > 1)
    return "Content-Length and Transfer-Encoding may be there once";
  if (coding != nullptr && length != nullptr)
    return "Content-Length and Transfer-Encoding exclude each other";
  if (length != nullptr && !std::all_of(length->begin(), length->end(), digit))
    return "Content-Length must be a number";
  if (coding != nullptr && (lower(*coding) != "chunked" || r.version != 11))
    return "Transfer-Encoding must be chunked, and HTTP/1.1";
  return nullptr;
}

}  // namespace

http_session::http_session(http_context& context, std::unique_ptr<byte_stream> peer,
                           std::function<void(http_session*)> closed)
    : context_(context),
      stream_(std::move(peer)),
      peer_(address_of(stream_->tcp())),
      closed_(std::move(closed)),
      read_timer_(stream_->tcp().get_executor()),
      write_timer_(stream_->tcp().get_executor()) {}

void http_session::start() {
  walled([&] { open(&http_session::read_more); });
}

void http_session::turn_away(const api_error& failure) {
  walled([&] {
    turned_away_ = true;
    request_id_ = context_.random_id();
    open([failure](http_session& s) { s.refuse(failure); });
  });
}

// A handshake and the first byte behind it share one deadline.
void http_session::open(std::function<void(http_session&)> then) {
  arm(read_timer_, context_.options.timeouts.header, &http_session::read_deadline_passed);
  stream_->async_open([self = shared_from_this(), then = std::move(then)](error_code ec) {
    if (self->state_ == state::closed) return;
    self->walled([&] { ec ? self->close() : then(*self); });
  });
}

// A connection that cannot be answered any more is closed; of a response that has begun its client
// then sees that it lacks its end.
void http_session::threw(const std::exception& what) noexcept {
  const bool memory = dynamic_cast<const std::bad_alloc*>(&what) != nullptr;
  context_.counters.internal_errors.fetch_add(1, std::memory_order_relaxed);
  if (act_) act_->status = admin_act::unknown;
  try {
    if (memory) {
      std::string().swap(in_);  // so that there is some for the answer
      if (current_) current_->drop_body();
      spdlog::warn("gateway: no memory for request {}", request_id_);
    } else {
      spdlog::error("gateway: request {} ended by an exception: {}", request_id_, what.what());
    }
    if (const auto x = std::exchange(current_, nullptr)) x->leave();
    note_act(admin_act::unknown);
    keep_alive_ = false;
    if (state_ == state::busy && complete_ && writing_) return;  // it is answered
    const bool asked = state_ == state::header || state_ == state::body || state_ == state::busy;
    if (!asked || begun_ || (!in_flight_.empty() && !writing_)) return close();
    refuse(memory ? api_error::of(
                        {errc::overloaded, "there is no memory for this request", busy_retry_ms})
                  : api_error::of({errc::internal,
                                   "internal error; see the log for request " + request_id_, 0}));
  } catch (const std::exception&) {
    close();
  }
}

std::optional<http_session::readiness> http_session::gives_way() const {
  if (turned_away_) return std::nullopt;
  if (state_ == state::idle) return readiness{false, waits_since_};
  if (state_ == state::header || (state_ == state::body && admission_.refusal))
    return readiness{true, waits_since_};
  return std::nullopt;
}

// -- reading

void http_session::read_more() {
  const bool full = state_ == state::busy && in_.size() >= context_.options.bounds.header_bytes_max;
  if (reading_ || eof_ || full || state_ == state::closed) return;
  stream_->async_read_some(asio::buffer(read_area_),
                           [self = shared_from_this()](error_code ec, std::size_t n) {
                             self->reading_ = false;
                             self->walled([&] { self->on_read(ec, n); });
                           });
  reading_ = true;
}

void http_session::on_read(error_code ec, std::size_t bytes) {
  if (state_ == state::closed) return;
  if (state_ == state::lingering && ec == asio::error::operation_aborted) return;
  if (ec && ec != asio::error::eof) return drop();
  eof_ = ec == asio::error::eof;
  if (state_ == state::lingering) {
    lingered_bytes_ += bytes;
    const bool enough = lingered_bytes_ > 4 * context_.options.bounds.request_bytes_max;
    if (eof_ || enough) return close();
    return read_more();
  }
  in_.append(read_area_.data(), bytes);
  if (state_ != state::busy) return advance();
  if (eof_ && !complete_) return drop();
  read_more();
}

void http_session::advance() {
  while (state_ == state::idle || state_ == state::header || state_ == state::body) {
    if (step()) continue;
    if (eof_) return state_ == state::idle ? linger() : close();
    return read_more();
  }
}

// False: more bytes are needed.
bool http_session::step() {
  switch (state_) {
    case state::idle:
      if (in_.empty()) return false;
      begin_request();
      return true;
    case state::header:
      return step_header();
    default:
      return step_body();
  }
}

void http_session::begin_request() {
  parser_.emplace();
  // Our own count decides, to the byte; Beast's only has to stay out of its way.
  parser_->header_limit(static_cast<std::uint32_t>(context_.options.bounds.header_bytes_max) +
                        65536);
  parser_->body_limit(context_.options.bounds.request_bytes_max);
  header_bytes_ = 0;
  request_ = {};
  admission_ = {};
  request_id_ = context_.random_id();
  keep_alive_ = !ending_;
  chunked_ = head_only_ = complete_ = begun_ = false;
  state_ = state::header;
  waits_since_ = std::chrono::steady_clock::now();
  arm(read_timer_, context_.options.timeouts.header, &http_session::read_deadline_passed);
}

bool http_session::step_header() {
  error_code ec;
  const auto used = parser_->put(asio::buffer(in_), ec);
  in_.erase(0, used);
  header_bytes_ += used;
  // A body that is too long is known from its length once the header is complete.
  const bool done = parser_->is_header_done() || ec == http::error::body_limit;
  if (header_bytes_ + (done ? 0 : in_.size()) > context_.options.bounds.header_bytes_max) {
    refuse({condition::header_too_large,
            "the request line and headers have more than " +
                std::to_string(context_.options.bounds.header_bytes_max) + " bytes",
            {},
            0});
    return true;
  }
  if (ec && ec != http::error::need_more) {
    refuse_parse(ec);
    return true;
  }
  if (!done) return false;
  header_complete();
  return true;
}

http_request http_session::take_header() {
  const auto& head = parser_->get();
  http_request out;
  out.method = std::string(head.method_string());
  out.version = head.version();
  out.keep_alive = head.keep_alive();
  out.peer = peer_.to_string();
  out.from_loopback = peer_.is_loopback();
  for (const auto& field : head) {
    out.headers.emplace_back(lower({field.name_string().data(), field.name_string().size()}),
                             std::string(field.value()));
  }
  std::string_view target(head.target().data(), head.target().size());
  const auto question = std::min(target.find('?'), target.size());
  out.path = percent_decode(target.substr(0, question)).value_or("");
  if (question < target.size()) out.query = std::string(target.substr(question + 1));
  return out;
}

void http_session::header_complete() {
  request_ = take_header();
  keep_alive_ = request_.keep_alive && !ending_;
  head_only_ = request_.method == "HEAD";
  if (const auto* id = request_.header("x-request-id"); id != nullptr && usable_id(*id))
    request_id_ = *id;
  const bool known_form = request_.path.starts_with('/') || request_.path == "*";
  if (!known_form || (request_.version != 11 && request_.version != 10)) {
    return refuse({condition_of(errc::bad_request),
                   "the request target must be a path, the version HTTP/1.0 or 1.1",
                   {},
                   0});
  }
  if (request_.version == 11 && request_.header_count("host") != 1) {
    return refuse(
        {condition_of(errc::bad_request), "HTTP/1.1 needs exactly one Host header", {}, 0});
  }
  if (const auto* wrong = ambiguous_framing(request_))
    return refuse({condition_of(errc::bad_request), wrong, {}, 0});
  context_.counters.requests.fetch_add(1, std::memory_order_relaxed);
  admission_ = admit(context_, request_);
  if (!admission_.refusal) {
    const auto share = std::max(1u, context_.options.bounds.connections_max / 2);
    if (auto full = context_.access.enter(admission_.who, share))
      admission_.refusal = error_response(*full);
    else
      entered_ = std::chrono::steady_clock::now();
  }
  const auto* expect = request_.header("expect");
  if (expect != nullptr && lower(*expect) == "100-continue" && !parser_->is_done()) {
    // Refused now, the client need not send its body at all.
    if (admission_.refusal) {
      keep_alive_ = false;
      state_ = state::busy;
      return answer(std::move(*admission_.refusal));
    }
    push("HTTP/1.1 100 Continue\r\n\r\n");
  }
  parser_->eager(true);
  state_ = state::body;
  arm(read_timer_, context_.options.timeouts.body, &http_session::read_deadline_passed);
}

bool http_session::step_body() {
  if (parser_->is_done()) {
    dispatch();
    return true;
  }
  if (in_.empty()) return false;
  error_code ec;
  const auto used = parser_->put(asio::buffer(in_), ec);
  in_.erase(0, used);
  if (ec && ec != http::error::need_more) {
    refuse_parse(ec);
    return true;
  }
  // Nobody reads the body of a request that is refused.
  if (admission_.refusal) parser_->get().body().clear();
  count_body();
  const auto& bounds = context_.options.bounds;
  if (context_.bodies.full(admission_.who.tenant, bounds.bodies_max * bounds.request_bytes_max)) {
    refuse(api_error::of({errc::overloaded, "too many bodies are being received", busy_retry_ms}));
    return true;
  }
  // Only a chunk's size line or a trailer can make the parser wait for more with bytes at hand.
  if (used == 0 && in_.size() > context_.options.bounds.header_bytes_max) {
    refuse({condition::header_too_large, "a chunk's header or trailer is too long", {}, 0});
    return true;
  }
  return parser_->is_done() || (used > 0 && !in_.empty());
}

void http_session::count_body() {
  const auto now = parser_ ? parser_->get().body().size() : 0;
  context_.bodies.count(admission_.who.tenant, now - body_bytes_);
  body_bytes_ = now;
}

void http_session::note_act(unsigned status) {
  if (!act_) return;
  act_->status = status;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  context_.options.audit->add(
      audit_line(*act_, std::chrono::duration_cast<std::chrono::milliseconds>(now).count()));
  act_.reset();
}

void http_session::leave_tenant() {
  if (!entered_) return;
  context_.access.leave(admission_.who, std::chrono::steady_clock::now() - *entered_);
  entered_.reset();
}

void http_session::dispatch() {
  state_ = state::busy;
  read_timer_.cancel();
  request_.body = std::move(parser_->get().body());
  parser_.reset();
  if (admission_.refusal) {
    count_body();
    answer(std::move(*admission_.refusal));
    return read_more();
  }
  if (admission_.admin_act && context_.options.audit) {
    act_ = admin_act{context_.options.name,
                     admission_.who.admin ? "admin key" : "local caller",
                     request_.peer,
                     request_.method + " " + request_.path,
                     (request_.body.empty() ? request_.query : request_.body)
                         .substr(0, admin_act::asked_bytes_max),
                     request_id_,
                     0};
  }
  current_ = std::make_shared<exchange>(weak_from_this(), std::move(request_), admission_.who,
                                        request_id_);
  const auto x = current_;
  admission_.run(context_, x);
  x->drop_body();
  count_body();
  read_more();
}

void http_session::refuse(const api_error& failure) {
  keep_alive_ = false;
  state_ = state::busy;
  read_timer_.cancel();
  parser_.reset();
  count_body();
  answer(error_response(failure));
}

void http_session::refuse_parse(error_code ec) {
  if (ec == http::error::body_limit) {
    return refuse({condition_of(errc::too_large),
                   "the body has more than " +
                       std::to_string(context_.options.bounds.request_bytes_max) + " bytes",
                   {},
                   0});
  }
  if (ec == http::error::bad_version) {
    return refuse({condition::version_not_supported, "this server speaks HTTP/1.1", {}, 0});
  }
  refuse({condition_of(errc::bad_request), "malformed HTTP: " + ec.message(), {}, 0});
}

// -- writing

void http_session::add_headers(http_response& response) const {
  response.headers.emplace_back("x-request-id", request_id_);
  for (const auto& header : admission_.headers) response.headers.push_back(header);
}

void http_session::respond(http_response response) {
  walled([&] { answer(std::move(response)); });
}

void http_session::answer(http_response response) {
  if (state_ == state::closed) return;
  read_timer_.cancel();
  note_act(response.status);
  add_headers(response);
  std::string bytes =
      head_bytes(response, {request_.version == 10 ? 10u : 11u, keep_alive_, false, false});
  if (!head_only_ && response.status != 204) bytes += response.body;
  push_first(std::move(bytes));
  complete();
}

void http_session::begin_stream(http_response head) {
  if (state_ == state::closed || begun_) return;
  walled([&] {
    read_timer_.cancel();
    add_headers(head);
    const bool old = current_->request.version == 10;
    chunked_ = !old;
    if (old) keep_alive_ = false;
    push_first(head_bytes(head, {old ? 10u : 11u, keep_alive_, chunked_, old}));
  });
}

void http_session::stream_data(std::string data, std::function<void()> written) {
  if (state_ == state::closed) return;
  walled([&] {
    if (head_only_) data.clear();
    push(chunked_ ? chunk_bytes(data) : std::move(data), std::move(written));
  });
}

void http_session::end_stream() {
  if (state_ == state::closed) return;
  walled([&] {
    if (chunked_ && !head_only_) push(std::string(last_chunk_bytes));
    complete();
  });
}

// One that is over has been answered, or nobody waits for it: only a handler that goes on after its
// answer comes here so.
void http_session::broke(const exchange& of, const std::exception& what) {
  if (current_.get() == &of) return threw(what);
  context_.counters.internal_errors.fetch_add(1, std::memory_order_relaxed);
  spdlog::error("gateway: after request {} was over: {}", of.request_id, what.what());
}

void http_session::reply_within(ms most) {
  arm(read_timer_, most, &http_session::reply_deadline_passed);
}

void http_session::push(std::string data, std::function<void()> written) {
  out_.push_back({std::move(data), std::move(written)});
  flush();
}

void http_session::push_first(std::string data) {
  out_.push_back({std::move(data), {}});
  begun_ = true;
  flush();
}

void http_session::complete() {
  complete_ = true;
  current_.reset();
  flush();
}

void http_session::flush() {
  if (!in_flight_.empty() || out_.empty() || state_ == state::closed) return;
  in_flight_.assign(std::make_move_iterator(out_.begin()), std::make_move_iterator(out_.end()));
  out_.clear();
  std::vector<asio::const_buffer> buffers;
  for (const auto& p : in_flight_) buffers.emplace_back(asio::buffer(p.data));
  arm(write_timer_, context_.options.timeouts.write, &http_session::drop);
  stream_->async_write(buffers, [self = shared_from_this()](error_code ec, std::size_t) {
    self->writing_ = false;
    self->walled([&] { self->on_written(ec); });
  });
  writing_ = true;
}

void http_session::on_written(error_code ec) {
  write_timer_.cancel();
  if (state_ == state::closed) return;
  if (ec) return drop();
  const auto done = std::exchange(in_flight_, {});
  for (const auto& p : done) {
    if (p.written) p.written();
  }
  if (state_ == state::closed) return;
  flush();
  if (complete_ && in_flight_.empty()) response_done();
}

void http_session::response_done() {
  leave_tenant();
  if (!keep_alive_) return linger();
  complete_ = false;
  state_ = state::idle;
  waits_since_ = std::chrono::steady_clock::now();
  arm(read_timer_, context_.options.timeouts.idle, &http_session::read_deadline_passed);
  advance();
}

// Closing at once with unread bytes would send a reset, which may overtake the response.
void http_session::linger() {
  state_ = state::lingering;
  in_.clear();
  arm(read_timer_, context_.options.timeouts.linger, &http_session::close);
  stream_->async_end([self = shared_from_this()] {
    self->walled([&] { self->eof_ ? self->close() : self->read_more(); });
  });
}

// -- deadlines and end

void http_session::arm(asio::steady_timer& timer, ms after, void (http_session::*then)()) {
  timer.expires_after(after);
  const auto due = timer.expiry();
  timer.async_wait([self = shared_from_this(), &timer, due, then](error_code ec) {
    // A handler that was queued just before the timer was set anew must not fire.
    if (ec || timer.expiry() != due || self->state_ == state::closed) return;
    self->walled([&] { ((*self).*then)(); });
  });
}

void http_session::read_deadline_passed() {
  if (state_ == state::busy) return;
  const bool nothing_yet = state_ == state::idle;
  if (nothing_yet) return close();
  refuse({condition::request_timeout, "the request did not arrive in time", {}, 0});
}

void http_session::reply_deadline_passed() {
  if (!current_ || begun_) return;
  current_->fail({condition_of(errc::timeout), "the runtime did not answer in time", {}, 0});
}

void http_session::drop() {
  if (const auto x = std::exchange(current_, nullptr)) x->leave();
  close();
}

void http_session::finish() {
  if (state_ == state::lingering) return;
  error_code gone;
  const bool arrives = state_ == state::header || state_ == state::body ||
                       (state_ == state::idle && stream_->tcp().available(gone) > 0);
  if (!arrives && (state_ != state::busy || !complete_)) return close();
  ending_ = true;
  keep_alive_ = false;
}

// What takes memory comes last: without any, a connection is closed all the same.
void http_session::close() {
  if (state_ == state::closed) return;
  const auto self = shared_from_this();
  state_ = state::closed;
  read_timer_.cancel();
  write_timer_.cancel();
  leave_tenant();
  parser_.reset();
  count_body();
  error_code ignored;  // closing: nothing is left to tell
  stream_->tcp().close(ignored);
  out_.clear();
  if (const auto closed = std::exchange(closed_, nullptr)) closed(this);
  try {
    if (const auto x = std::exchange(current_, nullptr)) x->leave();
    if (act_) note_act(act_->status);
  } catch (const std::exception& e) {
    spdlog::error("gateway: of request {}, whose connection closed: {}", request_id_, e.what());
  }
}

}  // namespace collm::gateway
