#include <algorithm>
#include <future>

#include "link/connection.hpp"
#include "link/link.hpp"
#include "link/node_service.hpp"
#include "link/outcome.hpp"
#include "link/registry_proxy.hpp"
#include "link/renewal.hpp"
#include "link/tls.hpp"
#include "link/training_proxies.hpp"
#include "link/training_rules.hpp"

namespace collm::link {
namespace {

constexpr std::uint32_t events_open_max = 64;
// The head sends requests and adapter loads; what it may send at once is bounded by its own
// remote_requests.
constexpr quota head_quota{8192, 4};

}  // namespace

/// Keeps the link: connect, join, beat; after any failure back off and again. Loop thread.
struct link_client::impl final : public registry_calls,
                                 public session_calls,
                                 public std::enable_shared_from_this<impl>,
                                 private kj::TaskSet::ErrorHandler {
  impl(loop& loop, caf::actor_system& actors_system, client_options wanted,
       kj::Own<kj::TlsContext> secure, std::shared_ptr<std::atomic<bool>> flag)
      : on(loop),
        system(actors_system),
        options(std::move(wanted)),
        tls(kj::mv(secure)),
        connected(std::move(flag)),
        back_off(options.back_off_min),
        last(empty_snapshot()),
        tasks(new kj::TaskSet(*this)) {}

  ~impl() noexcept override {
    tasks.reset();
    drop();
    if (context) caf::anon_send_exit(context->courier, caf::exit_reason::user_shutdown);
  }

  // -- keeping

  void serve(client_actors actors) {
    context = std::make_shared<node_context>(
        node_context{on, system, options.bounds, spawn_courier(system), std::move(actors),
                     [held = weak_from_this()] {
                       auto there = held.lock();
                       return there ? there->renew() : refused(gone());
                     },
                     requests_open});
    tasks->add(stay_linked());
  }

  kj::Promise<void> stay_linked() {
    return once()
        .catch_([](kj::Exception&& e) { return from_exception(e, errc::unavailable).message; })
        .then([this](std::string&& reason) {
          lost(reason);
          const auto pause = back_off;
          back_off = std::min(back_off * 2, options.back_off_max);
          return on.timer().afterDelay(to_kj(pause)).then([this] { return stay_linked(); });
        });
  }

  /// One connection from first to last; why it ended.
  kj::Promise<std::string> once() {
    auto late =
        on.timer().afterDelay(to_kj(options.connect_timeout)).then([this]() -> kj::Promise<void> {
          return to_exception(
              {errc::timeout, "the head at " + options.head + " did not answer within " +
                                  std::to_string(options.connect_timeout.count()) + " ms"});
        });
    return connect().exclusiveJoin(kj::mv(late)).then([this] { return stay(); });
  }

  kj::Promise<void> connect() {
    return on.io()
        .getNetwork()
        .parseAddress(options.head.c_str())
        .then([](kj::Own<kj::NetworkAddress>&& address) {
          auto stream = address->connect();
          return stream.attach(kj::mv(address));
        })
        .then([this](kj::Own<kj::AsyncIoStream>&& stream) {
          return tls->wrapClient(kj::mv(stream), head_common_name(options.cluster).c_str());
        })
        .then([this](kj::Own<kj::AsyncIoStream>&& stream) { return join(kj::mv(stream)); });
  }

  kj::Promise<void> join(kj::Own<kj::AsyncIoStream> stream) {
    rpc = kj::heap<connection>(kj::mv(stream), capnp::rpc::twoparty::Side::CLIENT, nullptr,
                               with_chunks(options.bounds), head_quota, on.timer());
    auto call = rpc->peer().castAs<schema::Head>().joinRequest();
    call.setHello(*options.hello.read());
    call.setNode(make_node_service(context));
    return call.send().then([this](capnp::Response<schema::Head::JoinResults>&& answer) {
      const auto welcome = answer.getWelcome();
      beat_every = std::chrono::milliseconds(std::max(welcome.getBeatMs(), 1u));
      lost_after = std::chrono::milliseconds(std::max(welcome.getLostAfterMs(), 1u));
      session = answer.getSession();
    });
  }

  kj::Promise<std::string> stay() {
    back_off = options.back_off_min;
    connected->store(true);
    last_reason.clear();
    say(schema::EventLevel::INFO, "link: connected to the head at " + options.head);
    if (options.on_state) options.on_state(link_state::connected, "");
    return rpc->on_disconnect()
        .then([] { return std::string("the connection to the head was lost"); })
        .exclusiveJoin(beat())
        .exclusiveJoin(keep_certificate());
  }

  // -- the certificate

  static error gone() { return {errc::unavailable, "this node is stopping"}; }
  static kj::Promise<void> refused(const error& why) { return to_exception(why); }

  /// A new key, signed by the head, for every connection from the next one on.
  kj::Promise<void> renew() {
    if (renewing) return refused({errc::conflict, "the certificate is being renewed already"});
    KJ_IF_MAYBE (there, session) {
      auto begun = renewal::begin(options.tls);
      if (!begun) return refused(begun.failure());
      auto next = *begun;
      auto call = there->renewRequest();
      call.setRequest(
          {reinterpret_cast<const kj::byte*>(next->request().data()), next->request().size()});
      renewing = true;
      return call.send()
          .then([this, next](capnp::Response<schema::Session::RenewResults>&& answer) {
            auto certificate = from_wire(answer.getResult());
            if (!certificate) return refused(certificate.failure());
            return use(next->finish(*certificate));
          })
          .attach(kj::defer([this] { renewing = false; }));
    }
    return refused(down());
  }

  /// The files hold the new certificate `id`: shows it from now on, and tells the head so.
  kj::Promise<void> use(const result<std::string>& id) {
    if (!id) return refused(id.failure());
    auto fresh = make_tls(options.tls, on.timer(), options.connect_timeout);
    if (!fresh) return refused(fresh.failure());
    tls = kj::mv(*fresh);
    say(schema::EventLevel::INFO, "link: has a new certificate");
    auto call = KJ_ASSERT_NONNULL(session).renewedRequest();
    call.setId(*id);
    return call.send().then([](capnp::Response<schema::Session::RenewedResults>&& answer) {
      auto noted = from_wire(answer.getResult());
      return noted ? kj::Promise<void>(kj::READY_NOW) : refused(noted.failure());
    });
  }

  /// Renews it in the last third of its life; ends with the connection.
  kj::Promise<std::string> keep_certificate() {
    auto due = needs_renewal(options.tls);
    auto renewed = !due ? refused(due.failure()) : *due ? renew() : kj::READY_NOW;
    return renewed
        .catch_([this](kj::Exception&& e) {
          say(schema::EventLevel::WARNING,
              "link: the certificate cannot be renewed, tried again "
              "in an hour: " +
                  from_exception(e).message);
        })
        .then([this] { return on.timer().afterDelay(1 * kj::HOURS); })
        .then([this] { return keep_certificate(); });
  }

  void lost(const std::string& reason) {
    const bool was = connected->exchange(false);
    drop();
    if (reason != last_reason) say(schema::EventLevel::WARNING, "link: " + reason);
    last_reason = reason;
    if (was && options.on_state) options.on_state(link_state::lost, reason);
  }

  void drop() {
    connected->store(false);
    session = nullptr;
    rpc = nullptr;
    events_open = 0;
  }

  // -- beating

  /// The telemetry actor's last Snapshot; the one before if it is busy: a beat must not wait for
  /// it.
  kj::Promise<msg<schema::Snapshot>> snapshot() {
    auto busy = on.timer().afterDelay(to_kj(beat_every / 2)).then([this] { return last; });
    return ask<msg<schema::Snapshot>>(context->courier, context->actors.telemetry,
                                      actors::list_atom::value)
        .catch_([this](kj::Exception&&) { return last; })
        .exclusiveJoin(kj::mv(busy));
  }

  kj::Promise<void> one_beat() {
    return snapshot().then([this](msg<schema::Snapshot>&& now) -> kj::Promise<void> {
      last = std::move(now);
      KJ_IF_MAYBE (there, session) {
        auto call = there->beatRequest();
        call.setSnapshot(*last.read());
        return call.send().ignoreResult();
      }
      return refused(down());
    });
  }

  kj::Promise<std::string> beat() {
    return one_beat()
        .exclusiveJoin(silence())
        .then([this] { return on.timer().afterDelay(to_kj(beat_every)); })
        .then([this] { return beat(); });
  }

  /// Done when two beats, one after the other, were answered while the head sent no request and had
  /// none open: it has every answer, and what it sent before it knew of the drain has come.
  kj::Promise<void> settled(int quiet = 0) {
    const auto begun = context->generations_begun;
    return one_beat().then([this, begun, quiet]() -> kj::Promise<void> {
      const bool idle = *requests_open == 0 && context->generations_begun == begun;
      const int now_quiet = idle ? quiet + 1 : 0;
      if (now_quiet == 2) return kj::READY_NOW;
      return on.timer().afterDelay(10 * kj::MILLISECONDS).then([this, now_quiet] {
        return settled(now_quiet);
      });
    });
  }

  /// Tells `done` whether it has settled before `at_most` was over.
  void settle(std::chrono::milliseconds at_most, const std::shared_ptr<std::promise<bool>>& done) {
    if (!context || !connected->load()) return done->set_value(false);
    tasks->add(settled()
                   .then([] { return true; })
                   .exclusiveJoin(on.timer().afterDelay(to_kj(at_most)).then([] { return false; }))
                   .catch_([](kj::Exception&&) { return false; })
                   .then([done](bool in_time) { done->set_value(in_time); }));
  }

  /// Broken when the head says nothing at all for so long; the answer to a beat may wait behind
  /// others.
  kj::Promise<void> silence() {
    const auto heard = rpc->received();
    return on.timer().afterDelay(to_kj(lost_after)).then([this, heard]() -> kj::Promise<void> {
      if (rpc->received() != heard) return silence();
      return to_exception(
          {errc::timeout, "the head was silent for " + std::to_string(lost_after.count()) + " ms"});
    });
  }

  msg<schema::Snapshot> empty_snapshot() const {
    return msg<schema::Snapshot>::build([this](schema::Snapshot::Builder to) {
      auto view = options.hello.read();
      to.setNode(view->getName());
      to.setSite(view->getSite());
      to.setPid(view->getPid());
    });
  }

  // -- what this process asks of the head

  error down() const override {
    return {errc::unavailable, "the link to the head at " + options.head + " is down"};
  }

  void record(const msg<schema::Register>& what,
              registry_owed<msg<schema::VersionRecord>> reply) override {
    KJ_IF_MAYBE (there, session) {
      auto call = there->registerRequest();
      call.setRegister(*what.read());
      tasks->add(call.send().then(
          [reply](capnp::Response<schema::Session::RegisterResults>&& answer) {
            reply->answer(from_wire(answer.getResult()));
          },
          [reply](kj::Exception&& e) { reply->answer(from_exception(e)); }));
    } else {
      reply->answer(down());
    }
  }

  void list(registry_owed<msg<schema::VersionList>> reply) override {
    KJ_IF_MAYBE (there, session) {
      tasks->add(there->versionsRequest().send().then(
          [reply](capnp::Response<schema::Session::VersionsResults>&& answer) {
            reply->answer(msg<schema::VersionList>::copy_of(answer.getList()));
          },
          [reply](kj::Exception&& e) { reply->answer(from_exception(e)); }));
    } else {
      reply->answer(down());
    }
  }

  void retire(const std::string& adapter,
              registry_owed<msg<schema::VersionRecord>> reply) override {
    KJ_IF_MAYBE (there, session) {
      auto call = there->retireRequest();
      call.setAdapter(adapter);
      tasks->add(call.send().then(
          [reply](capnp::Response<schema::Session::RetireResults>&& answer) {
            reply->answer(from_wire(answer.getResult()));
          },
          [reply](kj::Exception&& e) { reply->answer(from_exception(e)); }));
    } else {
      reply->answer(down());
    }
  }

  kj::Maybe<schema::Session::Client> current() override {
    KJ_IF_MAYBE (there, session) return schema::Session::Client(*there);
    return nullptr;
  }

  void keep(kj::Promise<void> call) override { tasks->add(kj::mv(call)); }

  void report(const msg<schema::Event>& event) {
    if (events_open >= events_open_max) return;
    KJ_IF_MAYBE (there, session) {
      ++events_open;
      auto call = there->eventRequest();
      call.setEvent(*event.read());
      tasks->add(call.send().ignoreResult().catch_([](kj::Exception&&) {}).then([this] {
        events_open -= std::min(events_open, 1u);  // a loss has set it to zero
      }));
    }
  }

  void say(schema::EventLevel level, const std::string& what) {
    if (options.log) options.log(level, what);
  }

  void taskFailed(kj::Exception&& e) override {
    say(schema::EventLevel::ERROR, std::string("link: ") + e.getDescription().cStr());
  }

  loop& on;
  caf::actor_system& system;
  const client_options options;
  kj::Own<kj::TlsContext> tls;
  std::shared_ptr<std::atomic<bool>> connected;
  const std::shared_ptr<std::atomic<std::uint32_t>> requests_open =
      std::make_shared<std::atomic<std::uint32_t>>(0);
  std::chrono::milliseconds back_off, beat_every{1000}, lost_after{3000};
  msg<schema::Snapshot> last;
  std::string last_reason;
  std::shared_ptr<node_context> context;
  std::uint32_t events_open = 0;
  bool renewing = false;
  std::unique_ptr<kj::TaskSet> tasks;
  kj::Own<connection> rpc;
  kj::Maybe<schema::Session::Client> session;
};

result<std::unique_ptr<link_client>> link_client::create(loop& on, caf::actor_system& system,
                                                         client_options options) {
  using made = result<std::unique_ptr<link_client>>;
  auto flag = std::make_shared<std::atomic<bool>>(false);
  return on.call([&]() -> made {
    auto tls = make_tls(options.tls, on.timer(), options.connect_timeout);
    if (!tls) return tls.failure();
    auto state = std::make_shared<impl>(on, system, std::move(options), kj::mv(*tls), flag);
    const auto training = std::make_shared<way_to_session>(on.outside(), state);
    stand_ins head{spawn_registry_proxy(system, on.outside(), state),
                   spawn_aggregator_proxy(system, training),
                   spawn_coordinator_proxy(system, training)};
    return std::unique_ptr<link_client>(
        new link_client(on, state, flag, state->requests_open, std::move(head)));
  });
}

link_client::~link_client() {
  loop_.call([this] { impl_.reset(); });
}

actors::registry_actor link_client::registry() const { return head_.registry; }
actors::aggregator_actor link_client::aggregator() const { return head_.aggregator; }
actors::coordinator_actor link_client::coordinator() const { return head_.coordinator; }

void link_client::serve(client_actors actors) {
  loop_.call([&] { impl_->serve(std::move(actors)); });
}

bool link_client::settle(std::chrono::milliseconds at_most) {
  auto done = std::make_shared<std::promise<bool>>();
  auto in_time = done->get_future();
  loop_.call([&] { impl_->settle(at_most, done); });
  return in_time.get();
}

void link_client::report(msg<schema::Event> event) {
  loop_.outside()->post([held = std::weak_ptr<impl>(impl_), event = std::move(event)] {
    if (auto there = held.lock()) there->report(event);
  });
}

}  // namespace collm::link
