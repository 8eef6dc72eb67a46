#include <algorithm>
#include <future>
#include <map>
#include <set>

#include "link/connection.hpp"
#include "link/link.hpp"
#include "link/native_request.hpp"
#include "link/outcome.hpp"
#include "link/tls.hpp"
#include "link/token_pump.hpp"

namespace collm::link {
namespace {

struct native_context {
  loop& on;
  const native_options options;
  const std::shared_ptr<gateway::port> port;
};

/// The gateway's port speaks to this; any thread.
class buffered_stream final : public gateway::stream {
 public:
  explicit buffered_stream(std::shared_ptr<stream_buffer> to) : to_(std::move(to)) {}
  ~buffered_stream() override { to_->abandon("the gateway has dropped the request"); }
  void accepted(msg<schema::Accepted> m) override { to_->push(std::move(m)); }
  void chunk(msg<schema::TokenChunk> m) override { to_->push(std::move(m)); }
  void finish(msg<schema::Finish> m) override { to_->push(std::move(m)); }
  void reject(msg<schema::Reject> m) override { to_->push(std::move(m)); }

 private:
  std::shared_ptr<stream_buffer> to_;
};

/// One Gateway.generate. Its end without an answer is a cancel. Loop thread.
class generation {
 public:
  generation(const native_context& context, const msg<schema::Request>& request,
             schema::TokenSink::Client to)
      : id_(request.read()->getId()), port_(context.port) {
    auto buffer = std::make_shared<stream_buffer>(context.on.outside(), id_,
                                                  context.options.bounds.stream_unsent_tokens_max);
    pump_ = std::make_shared<token_pump>(buffer, kj::mv(to), [this] { port_->credit(id_, 1); });
    buffer->read_by(pump_);
    port_->submit(request, std::make_shared<buffered_stream>(buffer));
    buffer_ = std::move(buffer);
  }
  generation(const generation&) = delete;
  ~generation() {
    if (!pump_->source_ended()) port_->cancel(id_);
  }

  kj::Promise<void> run() { return pump_->run(); }
  /// The actors have not ended it. What the client alone holds up is no reason to wait for it.
  bool being_made() const { return !buffer_->ended(); }

  void answer(schema::Gateway::GenerateResults::Builder to) const {
    const auto& outcome = pump_->outcome();
    if (const auto* reject = std::get_if<msg<schema::Reject>>(&outcome)) {
      auto view = reject->read();
      kj::throwFatalException(to_exception({code_named(view->getCode().cStr()),
                                            view->getMessage().cStr(), view->getRetryAfterMs()}));
    }
    to.setFinish(*std::get<msg<schema::Finish>>(outcome).read());
  }

 private:
  const request_id id_;
  const std::shared_ptr<gateway::port> port_;
  std::shared_ptr<token_pump> pump_;
  std::shared_ptr<const stream_buffer> buffer_;
};
using generations = std::set<const generation*>;

/// Bootstrap of one connection.
class gateway_server final : public schema::Gateway::Server {
 public:
  /// `running`: what this connection has asked for and not yet got.
  gateway_server(std::shared_ptr<native_context> context, std::shared_ptr<generations> running)
      : context_(std::move(context)), running_(std::move(running)) {}

  kj::Promise<void> ping(PingContext context) override {
    context.getResults().setEcho(context.getParams().getEcho());
    return kj::READY_NOW;
  }

  kj::Promise<void> generate(GenerateContext context) override {
    context.allowCancellation();
    const auto most = context_->options.bounds.rpc_streams_max;
    if (running_->size() >= most) {
      refuse({errc::rate_limited,
              "at most " + std::to_string(most) + " generations at a time on one connection"});
    }
    auto params = context.getParams();
    auto request = to_request(params.getRequest(), context_->port->next_id(),
                              context_->options.encode, context_->options.bounds);
    if (!request) refuse(request.failure());
    auto call = kj::heap<generation>(*context_, *request, params.getSink());
    context.releaseParams();
    auto& one = *call;
    running_->insert(&one);
    return one.run()
        .then([context, &one]() mutable { one.answer(context.getResults()); })
        .attach(kj::defer([all = running_, &one] { all->erase(&one); }), kj::mv(call));
  }

  kj::Promise<void> models(ModelsContext context) override {
    context.allowCancellation();
    using rows = std::vector<gateway::model_row>;
    auto pair = kj::newPromiseAndCrossThreadFulfiller<rows>();
    auto done =
        std::make_shared<kj::Own<kj::CrossThreadPromiseFulfiller<rows>>>(kj::mv(pair.fulfiller));
    context_->port->models([done](rows found) { (*done)->fulfill(kj::mv(found)); });
    return pair.promise.then([context](rows&& found) mutable {
      auto list = context.getResults().initModels(static_cast<unsigned>(found.size()));
      for (unsigned i = 0; i < list.size(); ++i) {
        list[i].setId(found[i].id.c_str());
        list[i].setRoot(found[i].root.c_str());
        list[i].setParent(found[i].parent.c_str());
        list[i].setCreated(found[i].created);
      }
    });
  }

 private:
  [[noreturn]] static void refuse(const error& why) { kj::throwFatalException(to_exception(why)); }

  const std::shared_ptr<native_context> context_;
  const std::shared_ptr<generations> running_;
};

bool is_loopback(const std::string& address) {
  const auto host = address.substr(0, address.rfind(':'));
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

}  // namespace

struct native_server::impl final : private kj::TaskSet::ErrorHandler {
  impl(std::shared_ptr<native_context> shared, kj::Own<kj::ConnectionReceiver> port,
       std::shared_ptr<std::atomic<std::uint32_t>> count)
      : context(std::move(shared)), receiver(kj::mv(port)), open(std::move(count)), tasks(*this) {
    tasks.add(accept());
  }

  kj::Promise<void> accept() {
    return receiver->accept().then(
        [this](kj::Own<kj::AsyncIoStream>&& stream) {
          if (open->load() < context->options.bounds.connections_max)
            tasks.add(serve(kj::mv(stream)));
          return accept();
        },
        [this](kj::Exception&& e) {  // such as no file descriptor left
          say(schema::EventLevel::ERROR,
              std::string("native port: cannot accept: ") + e.getDescription().cStr());
          return context->on.timer().afterDelay(100 * kj::MILLISECONDS).then([this] {
            return accept();
          });
        });
  }

  kj::Promise<void> serve(kj::Own<kj::AsyncIoStream> stream) {
    ++*open;
    const auto& bounds = context->options.bounds;
    // Streams, as many short calls beside them, and room for a client that cancels and starts
    // again.
    const auto allowed =
        with_unread_bounds({bounds.rpc_streams_max * 4 + 64, 4}, context->options.unread_for_max);
    auto running = std::make_shared<generations>();
    auto peer =
        kj::heap<connection>(kj::mv(stream), capnp::rpc::twoparty::Side::SERVER,
                             capnp::Capability::Client(kj::heap<gateway_server>(context, running)),
                             bounds, allowed, context->on.timer());
    auto& there = *peer;
    served[&there] = running;
    return there.on_disconnect()
        .exclusiveJoin(idle(there, std::move(running), there.heard()))
        .exclusiveJoin(there.on_unread())
        .attach(kj::defer([this, &there] { served.erase(&there); }), kj::mv(peer),
                kj::defer([this] { --*open; }));
  }

  /// Done when nothing was asked for or to be said at two looks, one after the other.
  kj::Promise<void> settled(int quiet = 0) {
    const bool idle = std::ranges::all_of(
        served, [](const auto& s) { return s.second->empty() && s.first->unwritten() == 0; });
    const int now_quiet = idle ? quiet + 1 : 0;
    if (now_quiet == 2) return kj::READY_NOW;
    return context->on.timer().afterDelay(10 * kj::MILLISECONDS).then([this, now_quiet] {
      return settled(now_quiet);
    });
  }

  /// Tells `done` whether it has settled before `at_most` was over.
  void settle(std::chrono::milliseconds at_most, const std::shared_ptr<std::promise<bool>>& done) {
    tasks.add(settled()
                  .then([] { return true; })
                  .exclusiveJoin(
                      context->on.timer().afterDelay(to_kj(at_most)).then([] { return false; }))
                  .then([done](bool in_time) { done->set_value(in_time); }));
  }

  /// Done when nothing has come for too long, counted from `since`, and nothing is being made.
  kj::Promise<void> idle(const connection& peer, std::shared_ptr<const generations> running,
                         kj::TimePoint since) {
    const auto& options = context->options;
    const auto most =
        to_kj(peer.received() == 0 ? options.first_message_timeout : options.idle_timeout);
    return context->on.timer()
        .atTime(since + most)
        .then([this, &peer, running = std::move(running), since]() mutable -> kj::Promise<void> {
          const auto now = context->on.timer().now();
          const bool busy = std::ranges::any_of(*running, &generation::being_made);
          const auto last = busy ? now : std::max(since, peer.heard());
          if (peer.received() == 0 || now - last >= to_kj(context->options.idle_timeout))
            return kj::READY_NOW;
          return idle(peer, std::move(running), last);
        });
  }

  void say(schema::EventLevel level, const std::string& what) {
    if (context->options.log) context->options.log(level, what);
  }

  void taskFailed(kj::Exception&& e) override {
    say(schema::EventLevel::WARNING, std::string("native port: ") + e.getDescription().cStr());
  }

  const std::shared_ptr<native_context> context;
  kj::Own<kj::ConnectionReceiver> receiver;
  const std::shared_ptr<std::atomic<std::uint32_t>> open;
  std::map<connection*, std::shared_ptr<const generations>> served;
  kj::TaskSet tasks;
};

result<std::unique_ptr<native_server>> native_server::start(loop& on, native_options options,
                                                            std::shared_ptr<gateway::port> port) {
  using made = result<std::unique_ptr<native_server>>;
  if (!is_loopback(options.listen)) {
    return error{errc::forbidden,
                 "the native port is not encrypted and listens on loopback only, not on " +
                     options.listen + "; use 127.0.0.1"};
  }
  auto count = std::make_shared<std::atomic<std::uint32_t>>(0);
  return on.call([&]() -> made {
    try {
      auto address = on.io().getNetwork().parseAddress(options.listen.c_str()).wait(on.scope());
      auto receiver = address->listen();
      const auto number = static_cast<std::uint16_t>(receiver->getPort());
      auto context =
          std::make_shared<native_context>(native_context{on, std::move(options), std::move(port)});
      auto* state = new impl(std::move(context), kj::mv(receiver), count);
      return std::unique_ptr<native_server>(new native_server(on, state, number, count));
    } catch (const kj::Exception& e) {
      return error{errc::io, "cannot listen for Cap'n Proto clients at " + options.listen + ": " +
                                 e.getDescription().cStr()};
    }
  });
}

native_server::~native_server() {
  loop_.call([this] { delete impl_; });
}

bool native_server::settle(std::chrono::milliseconds at_most) {
  auto done = std::make_shared<std::promise<bool>>();
  auto in_time = done->get_future();
  loop_.call([&] { impl_->settle(at_most, done); });
  return in_time.get();
}

std::uint16_t native_server::port() const { return port_; }
std::uint32_t native_server::connections() const { return connections_->load(); }

}  // namespace collm::link
