#include <algorithm>
#include <list>

#include "link/enrolment_server.hpp"
#include "link/head_connection.hpp"
#include "link/link.hpp"
#include "link/outcome.hpp"
#include "link/tls.hpp"

namespace collm::link {
namespace {

error too_busy() { return {errc::overloaded, "the link has too much to do; retry", 1000}; }

}  // namespace

struct link_server::impl final : private kj::TaskSet::ErrorHandler {
  impl(loop& on, caf::actor_system& system, server_options options, server_actors to,
       kj::Own<kj::TlsContext> secure, kj::Own<kj::ConnectionReceiver> port)
      : shared{on, system, std::move(options), std::move(to), spawn_courier(system), {}, {}, {}},
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

  /// Ends a node's connection, if it has one.
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

  // -- who takes part

  result<void> open_enrolment() {
    const auto& terms = shared.options.enrolment;
    if (terms.listen.empty()) return {};
    enrolment_options options;
    options.listen = terms.listen;
    options.tls = shared.options.tls;
    options.handshake_max = shared.options.accept_timeout;
    options.refusal_delay = terms.refusal_delay;
    options.enrol = [this](schema::Enrol::Reader request) { return enrol(request); };
    options.refused = [this](const std::string& why) { refused("enrolment: " + why); };
    auto started = enrolment_server::start(shared.on, std::move(options));
    if (!started) return started.failure();
    enrolment = std::move(*started);
    return {};
  }

  result<msg<schema::Enrolled>> enrol(schema::Enrol::Reader request) {
    const auto& options = shared.options;
    const auto text = [](capnp::Data::Reader data) {
      return std::string_view(reinterpret_cast<const char*>(data.begin()), data.size());
    };
    auto made = options.members->enrol(text(request.getSecret()), text(request.getRequest()));
    if (!made) return made.failure();
    auto authority = options.members->certificate();
    if (!authority) return authority.failure();
    auto manifest = options.enrolment.manifest(made->node);
    if (!manifest) return manifest.failure();
    end(made->node, "it joins anew with a token");
    shared.incarnations.erase(made->node);  // whoever had its certificate had these, too
    say(schema::EventLevel::INFO,
        "link: node " + made->node + " of site " + made->site + " has joined with a token");
    return msg<schema::Enrolled>::build([&](schema::Enrolled::Builder to) {
      auto member = to.initMember();
      member.setCluster(options.cluster);
      member.setNode(made->node);
      member.setSite(made->site);
      member.setAuthority(*authority);
      member.setCertificate(made->certificate);
      member.setLink(options.enrolment.host + ":" + std::to_string(receiver->getPort()));
      member.setManifest(*manifest);
    });
  }

  result<std::string> join_token(const std::string& node, std::uint32_t lives_s) {
    if (!enrolment) {
      return error{errc::conflict,
                   "this head has no port for nodes that join: give the manifest a "
                   "spec.head.enrol, such as 127.0.0.1:8098"};
    }
    const auto address = shared.options.enrolment.host + ":" + std::to_string(enrolment->port());
    auto token = shared.options.members->issue(node, address, lives_s);
    if (!token) return token.failure();
    return to_string(*token);
  }

  result<void> revoke(const std::string& node) {
    if (auto revoked = shared.options.members->revoke(node); !revoked) return revoked;
    end(node, "its certificate was revoked");
    shared.incarnations.erase(node);
    say(schema::EventLevel::WARNING, "link: the certificate of node " + node + " was revoked");
    return {};
  }

  void rotate(const std::string& node, const reply<void>& to) {
    for (const auto& held : connections) {
      auto there = held.lock();
      if (there && there->is_joined() && there->node() == node) return there->rotate(to);
    }
    to(error{errc::unavailable, "node '" + node +
                                    "' is not connected; it renews its certificate by itself in "
                                    "the last third of its life"});
  }

  head_context shared;
  kj::Own<kj::TlsContext> tls;
  kj::Own<kj::ConnectionReceiver> receiver;
  std::list<std::weak_ptr<head_connection>> connections;
  std::size_t open = 0;
  std::size_t unsaid = 0;  ///< peers refused since the last line about them
  bool quiet = false;      ///< a line was said in this period
  std::string last_refused;
  std::unique_ptr<enrolment_server> enrolment;  ///< null: nobody joins with a token
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
      auto state = std::make_unique<impl>(on, system, std::move(options), std::move(to),
                                          kj::mv(*tls), kj::mv(receiver));
      if (auto opened = state->open_enrolment(); !opened) return opened.failure();
      const listening ports{port, state->enrolment ? state->enrolment->port() : std::uint16_t{0}};
      return std::unique_ptr<link_server>(new link_server(on, state.release(), ports));
    } catch (const kj::Exception& e) {
      return error{errc::io, "cannot listen for nodes at " + options.listen + ": " +
                                 e.getDescription().cStr()};
    }
  });
}

link_server::~link_server() {
  loop_.call([this] { delete impl_; });
}

std::uint16_t link_server::port() const { return ports_.link; }
std::uint16_t link_server::enrolment_port() const { return ports_.enrolment; }

void link_server::disconnect(const std::string& node, const std::string& reason) {
  loop_.call([&] { impl_->end(node, reason); });
}

void link_server::join_token(std::string node, std::uint32_t lives_s, reply<std::string> to) {
  const bool posted = loop_.outside()->post([state = impl_, node = std::move(node), lives_s, to] {
    to(state->join_token(node, lives_s));
  });
  if (!posted) to(too_busy());
}

void link_server::rotate(std::string node, reply<void> to) {
  const bool posted = loop_.outside()->post(
      [state = impl_, node = std::move(node), to] { state->rotate(node, to); });
  if (!posted) to(too_busy());
}

void link_server::revoke(std::string node, reply<void> to) {
  const bool posted = loop_.outside()->post(
      [state = impl_, node = std::move(node), to] { to(state->revoke(node)); });
  if (!posted) to(too_busy());
}

}  // namespace collm::link
