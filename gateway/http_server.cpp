#include "gateway/http_server.hpp"

#include <openssl/rand.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>

#include "gateway/byte_stream.hpp"
#include "gateway/event_feed.hpp"
#include "gateway/http_context.hpp"
#include "gateway/http_session.hpp"
#include "gateway/listener.hpp"

namespace collm::gateway {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// Connections beyond the limit that may wait to be told so; further ones are closed without a word.
constexpr std::size_t turned_away_max = 64;
// How long to wait before accepting again when the system has no descriptor left.
constexpr std::chrono::milliseconds accept_retry{100};
// And where not even that could be asked for.
constexpr std::chrono::milliseconds no_memory_pause{10};
// Advice to who was turned away. How fast connections free up is not measured, so this is a polite
// constant.
constexpr std::uint32_t full_retry_ms = 1000;

/// Who listens beyond this machine hides what is said and asks who speaks.
result<void> check_reach(const http_options& o, bool loopback, const std::string& place) {
  const bool keyless = o.tenants.empty() && !o.keys_required;
  if (loopback || (o.tls && !keyless)) return {};
  const std::string lacks = std::string(o.tls ? "" : "TLS (gateway.tls: certificate and key)") +
                            (!o.tls && keyless ? " and " : "") +
                            (keyless ? "keys (spec.tenants)" : "");
  return error{errc::bad_request, "gateway address " + place + " is beyond loopback and lacks " +
                                      lacks + "; add what is lacking, or listen on 127.0.0.1"};
}

/// Makes a flag true as long as it is held. False again also when its holder is a handler that is
/// destroyed and never called, as Asio's are when it finds no memory itself.
class held_flag {
 public:
  explicit held_flag(bool& flag) : flag_(&flag) { flag = true; }
  held_flag(held_flag&& other) noexcept : flag_(std::exchange(other.flag_, nullptr)) {}
  held_flag& operator=(held_flag&&) = delete;
  ~held_flag() { release(); }
  void release() {
    if (auto* flag = std::exchange(flag_, nullptr)) *flag = false;
  }

 private:
  bool* flag_;
};

}  // namespace

std::uint64_t http_context::draw() {
  if (options.seed != 0) return random();
  std::uint64_t bits = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&bits), sizeof bits) != 1)
    throw std::runtime_error("OpenSSL has no random numbers");
  return bits;
}

std::string http_context::random_id() {
  static constexpr char digits[] = "0123456789abcdef";
  auto bits = draw();
  std::string out(16, '0');
  for (char& c : out) {
    c = digits[bits & 15];
    bits >>= 4;
  }
  return out;
}

struct http_server::impl {
  impl(http_options o, gateway::port& runtime, prompt_encoder encoder, tcp::acceptor&& a,
       std::unique_ptr<asio::io_context> i, std::unique_ptr<asio::ssl::context> t)
      : tls(std::move(t)),
        io(std::move(i)),
        acceptor(std::move(a)),
        retry(*io),
        patience(*io),
        port(acceptor.local_endpoint().port()),
        context{.options = o,
                .runtime = runtime,
                .encoder = std::move(encoder),
                .gate = std::make_shared<io_gate>(*io),
                .access = authenticator(o.tenants, o.admin_key_sha256, port, o.tls.has_value(),
                                        o.keys_required),
                .wrong = {},
                .counters = {},
                .random = std::mt19937_64(o.seed)},
        feed(context, *io) {
    context.events = &feed;
  }

  void accept() {
    acceptor.async_accept(
        [this, held = held_flag(accepting)](error_code ec, tcp::socket peer) mutable {
          held.release();
          if (!acceptor.is_open()) return;
          if (!ec) {
            walled([&] { admit_connection(std::move(peer)); });
            return accept();
          }
          spdlog::warn("gateway: accept failed: {}", ec.message());
          retry.expires_after(accept_retry);
          retry.async_wait([this, again = held_flag(accepting)](error_code cancelled) mutable {
            again.release();
            if (!cancelled) accept();
          });
        });
  }

  /// Sessions and exchanges have walls of their own: here is what belongs to no request.
  template <class F>
  void walled(F f) {
    try {
      f();
    } catch (const std::exception& e) {
      broke(e);
    }
  }
  void broke(const std::exception& e) {
    context.counters.internal_errors.fetch_add(1, std::memory_order_relaxed);
    spdlog::error("gateway: an exception: {}", e.what());
  }

  /// Until there is nothing to do any more, whatever is thrown.
  void run() {
    for (bool over = false; !over;) {
      try {
        io->restart();  // it stops when nothing is to be done, which an accept may change
        if (hears()) {
          io->run();
          over = true;
        } else {
          const auto waits = asio::make_work_guard(*io);
          io->run_for(no_memory_pause);
        }
      } catch (const std::exception& e) {
        broke(e);
        // What was to end them in order may be lost, and nothing else would.
        while (!acceptor.is_open() && !sessions.empty()) sessions.begin()->second->close();
      }
    }
  }

  /// Whoever connects is accepted, or nobody is any more.
  bool hears() {
    if (accepting || !acceptor.is_open()) return true;
    walled([&] { accept(); });
    return accepting;
  }

  void admit_connection(tcp::socket peer) {
    error_code ignored;  // only a matter of latency
    peer.set_option(tcp::no_delay(true), ignored);
    make_room(peer);
    const bool full = context.counters.connections_open >= context.options.bounds.connections_max ||
                      has_its_share(peer);
    if (full) context.counters.connections_refused++;
    if (full && sessions.size() - context.counters.connections_open >= turned_away_max) return;
    const auto refused =
        api_error::of({errc::overloaded, "too many connections are open", full_retry_ms});
    auto bytes = tls ? make_tls_stream(std::move(peer), *tls) : make_plain_stream(std::move(peer));
    auto session =
        std::make_shared<http_session>(context, std::move(bytes), [this, full](http_session* s) {
          if (!full) context.counters.connections_open--;
          sessions.erase(s);
          if (sessions.empty()) patience.cancel();
        });
    sessions.emplace(session.get(), session);
    if (!full) context.counters.connections_open++;
    full ? session->turn_away(refused) : session->start();
  }

  /// Whoever waits longest for nothing, then who has longest begun and not said who he is, gives
  /// way to who comes: of its own network where that has its share, else of all.
  void make_room(const tcp::socket& comes) {
    const bool share = has_its_share(comes);
    if (!share && context.counters.connections_open < context.options.bounds.connections_max)
      return;
    const auto from = network_of(address_of(comes));
    http_session* first = nullptr;
    for (const auto& [session, held] : sessions) {
      const auto ready = session->gives_way();
      if (!ready || (share && network_of(session->peer()) != from)) continue;
      if (first == nullptr || *ready < *first->gives_way()) first = session;
    }
    if (first == nullptr) return;
    context.counters.connections_evicted++;
    first->close();
  }

  bool has_its_share(const tcp::socket& comes) const {
    const auto address = address_of(comes);
    auto most = context.options.address_connections_max;
    if (most == 0 && address.is_loopback()) return false;
    if (most == 0) most = std::max(1u, context.options.bounds.connections_max / 2);
    const auto from = network_of(address);
    const auto count = std::count_if(sessions.begin(), sessions.end(), [&](const auto& s) {
      return network_of(s.first->peer()) == from;
    });
    return count >= most;
  }

  /// What is answered, and not yet written or read to its end, has the time that a last response
  /// has; then nobody keeps the process.
  void close_all() {
    error_code ignored;  // closing: nothing is left to tell
    acceptor.close(ignored);
    retry.cancel();
    feed.stop();
    context.gate->close();
    patience.expires_after(context.options.timeouts.linger);
    patience.async_wait([this](error_code) { each_session(&http_session::close); });
    each_session(&http_session::finish);
    if (sessions.empty()) patience.cancel();
  }

  void each_session(void (http_session::*what)()) {
    const auto all = sessions;
    for (const auto& [key, session] : all) ((*session).*what)();
  }

  const std::unique_ptr<asio::ssl::context> tls;  ///< null: plain HTTP
  const std::unique_ptr<asio::io_context> io;
  tcp::acceptor acceptor;
  bool accepting = false;  ///< or waiting to
  asio::steady_timer retry, patience;
  const std::uint16_t port;
  http_context context;
  event_feed feed;
  std::unordered_map<http_session*, std::shared_ptr<http_session>> sessions;
  std::thread thread;
};

http_server::http_server(std::unique_ptr<impl> state) : impl_(std::move(state)) {}

http_server::~http_server() { stop(); }

result<std::unique_ptr<http_server>> http_server::start(http_options options,
                                                        gateway::port& runtime,
                                                        prompt_encoder encoder) {
  const std::string place = options.address + ":" + std::to_string(options.port);
  const auto at = endpoint_of(options.address, options.port);
  if (!at) return at.failure();
  if (auto allowed = check_reach(options, at->address().is_loopback(), place); !allowed)
    return allowed.failure();
  std::unique_ptr<asio::ssl::context> tls;
  if (options.tls) {
    auto made = make_tls_context(*options.tls);
    if (!made) return made.failure();
    tls = std::move(*made);
  }
  auto io = std::make_unique<asio::io_context>(1);
  auto listener = options.listener ? result<int>(*options.listener)
                                   : open_listener(options.address, options.port);
  if (!listener) return listener.failure();
  tcp::acceptor acceptor(*io);
  error_code ec;
  acceptor.assign(at->protocol(), *listener, ec);
  if (ec) return error{errc::io, "gateway cannot listen on " + place + ": " + ec.message()};
  auto state = std::make_unique<impl>(std::move(options), runtime, std::move(encoder),
                                      std::move(acceptor), std::move(io), std::move(tls));
  state->thread = std::thread([s = state.get()] {
    pthread_setname_np(pthread_self(), "collm-http");
    s->run();
  });
  return std::unique_ptr<http_server>(new http_server(std::move(state)));
}

std::uint16_t http_server::port() const { return impl_->port; }
std::uint64_t http_server::connections_open() const {
  return impl_->context.counters.connections_open;
}
std::uint64_t http_server::connections_refused() const {
  return impl_->context.counters.connections_refused;
}

void http_server::stop() {
  if (!impl_->thread.joinable()) return;
  asio::post(*impl_->io, [this] { impl_->close_all(); });
  impl_->thread.join();
}

}  // namespace collm::gateway
