#include <algorithm>
#include <list>

#include "link/head_connection.hpp"
#include "link/link.hpp"
#include "link/outcome.hpp"
#include "link/tls.hpp"

namespace collm::link {

struct link_server::impl final : private kj::TaskSet::ErrorHandler {
  impl(loop& on, caf::actor_system& system, server_options options, server_actors to,
       kj::Own<kj::TlsContext> secure, kj::Own<kj::ConnectionReceiver> port)
      : shared{on, system, std::move(options), std::move(to), spawn_courier(system), {}, {}},
        tls(kj::mv(secure)),
        receiver(kj::mv(port)),
        tasks(new kj::TaskSet(*this)) {
    shared.replace = [this](const std::string& node, const std::string& reason) {
      end(node, reason);
    };
    tasks->add(accept());
  }

  ~impl() {
    tasks.reset();  // the connections' promises hold them
    caf::anon_send_exit(shared.courier, caf::exit_reason::user_shutdown);
  }

  void say(schema::EventLevel level, const std::string& what) {
    if (shared.options.log) shared.options.log(level, what);
  }

  /// One node's connection at most is served at a time; the rest are joining, or being refused.
  std::size_t open_max() const { return shared.options.nodes.size() * 4 + 16; }

  kj::Promise<void> accept() {
    return receiver->acceptAuthenticated().then(
        [this](kj::AuthenticatedStream&& peer) {
          if (open < open_max()) tasks->add(admit(kj::mv(peer)));
          return accept();
        },
        [this](kj::Exception&& e) {  // such as no file descriptor left
          say(schema::EventLevel::ERROR,
              std::string("link: cannot accept: ") + e.getDescription().cStr());
          return shared.on.timer().afterDelay(100 * kj::MILLISECONDS).then([this] {
            return accept();
          });
        });
  }

  kj::Promise<void> admit(kj::AuthenticatedStream peer) {
    ++open;
    return tls->wrapServer(kj::mv(peer))
        .then([this](kj::AuthenticatedStream&& secured) { return serve(kj::mv(secured)); })
        .attach(kj::defer([this] { --open; }));
  }

  kj::Promise<void> serve(kj::AuthenticatedStream secured) {
    auto& identity = kj::downcast<kj::TlsPeerIdentity>(*secured.peerIdentity);
    auto peer = std::make_shared<head_connection>(shared, identity.getCommonName().cStr());
    connections.push_back(peer);
    return peer->serve(kj::mv(secured.stream)).then([this, peer](std::string&& reason) {
      if (peer->node().empty()) {
        refused(peer->common_name() + ": " + reason);
      } else {  // whether that was an orderly end is the supervisor's to say
        say(schema::EventLevel::INFO, "link: " + peer->common_name() + ": " + reason);
      }
      peer->leave(reason);
      forget(peer);
    });
  }

  void forget(const std::shared_ptr<head_connection>& gone) {
    std::erase_if(connections, [&](const std::weak_ptr<head_connection>& held) {
      auto there = held.lock();
      return !there || there == gone;
    });
  }

  void end(const std::string& node, const std::string& reason) {
    for (const auto& held : connections) {
      auto there = held.lock();
      if (!there || there->node() != node) continue;
      there->leave(reason);
      there->close(reason);
    }
  }

  void taskFailed(kj::Exception&& e) override { refused(e.getDescription().cStr()); }

  /// Anybody can connect and say nothing, as often as they like: one line a period tells of all.
  void refused(const std::string& why) {
    last_refused = why;
    ++unsaid;
    if (!quiet) say_refused();
  }

  void say_refused() {
    say(schema::EventLevel::WARNING,
        "link: " +
            (unsaid == 1 ? std::string("a peer was") : std::to_string(unsaid) + " peers were") +
            " refused" + (unsaid == 1 ? ": " : ", the last one: ") + last_refused);
    unsaid = 0;
    quiet = true;
    tasks->add(shared.on.timer().afterDelay(to_kj(shared.options.refusals_told_each)).then([this] {
      quiet = false;
      if (unsaid > 0) say_refused();
    }));
  }

  head_context shared;
  kj::Own<kj::TlsContext> tls;
  kj::Own<kj::ConnectionReceiver> receiver;
  std::list<std::weak_ptr<head_connection>> connections;
  std::size_t open = 0;
  std::size_t unsaid = 0;  ///< peers refused since the last line about them
  bool quiet = false;      ///< a line was said in this period
  std::string last_refused;
  std::unique_ptr<kj::TaskSet> tasks;
};

result<std::unique_ptr<link_server>> link_server::start(loop& on, caf::actor_system& system,
                                                        server_options options, server_actors to) {
  using made = result<std::unique_ptr<link_server>>;
  return on.call([&]() -> made {
    auto tls = make_tls(options.tls, on.timer(), options.accept_timeout);
    if (!tls) return tls.failure();
    try {
      auto address = on.io().getNetwork().parseAddress(options.listen.c_str()).wait(on.scope());
      auto receiver = address->listen();
      const auto port = static_cast<std::uint16_t>(receiver->getPort());
      auto* state =
          new impl(on, system, std::move(options), std::move(to), kj::mv(*tls), kj::mv(receiver));
      return std::unique_ptr<link_server>(new link_server(on, state, port));
    } catch (const kj::Exception& e) {
      return error{errc::io, "cannot listen for nodes at " + options.listen + ": " +
                                 e.getDescription().cStr()};
    }
  });
}

link_server::~link_server() {
  loop_.call([this] { delete impl_; });
}

std::uint16_t link_server::port() const { return port_; }

void link_server::disconnect(const std::string& node, const std::string& reason) {
  loop_.call([&] { impl_->end(node, reason); });
}

}  // namespace collm::link
