#include "link/head_connection.hpp"

#include "link/head_session.hpp"
#include "link/outcome.hpp"
#include "link/tls.hpp"
#include "link/training_rules.hpp"
#include "messages/shown_text.hpp"

namespace collm::link {
namespace {

using schema::VersionList;
using schema::VersionRecord;

constexpr std::uint32_t unanswered_max =
    256;                                     // lists, announcements, loads; requests have their own
constexpr int watch_parts = 8;               // how finely silence is measured
constexpr std::int64_t ahead_max_s = 3600;   // of a node's clock
constexpr std::size_t hello_text_max = 128;  // of what a node says of itself, told on
// Of an event: the head keeps a few hundred and writes each into its log.
constexpr std::size_t event_kind_max = 64, event_text_max = 4096;
// What a node may have open: 16 unanswered tokens a request in flight, beside them a beat,
// registrations and events.
// The pace is some five times what a node's engines can say.
constexpr quota node_quota{remote_requests::in_flight_max * 16 + 256, 4, 32768, 16384};

/// A node's versions: as many as a snapshot may list.
result<msg<VersionList>> listed(VersionList::Reader list) {
  auto read = guard([&]() -> result<msg<VersionList>> {
    if (list.getVersions().size() > snapshot_list_max)
      return error{errc::too_large, "more than " + std::to_string(snapshot_list_max) + " versions"};
    return msg<VersionList>::copy_of(list, limits{}.snapshot_bytes_max);
  });
  return read ? *read : read.failure();
}

/// All that a peer with a certificate can reach at first.
class head_server final : public schema::Head::Server {
 public:
  explicit head_server(std::weak_ptr<head_connection> to) : to_(std::move(to)) {}

  kj::Promise<void> join(JoinContext context) override {
    auto to = alive(to_);
    auto params = context.getParams();
    if (auto joined = to->join(params.getHello(), params.getNode()); !joined) {
      refuse(joined.failure());
    }
    const auto& options = to->shared().options;
    auto results = context.getResults();
    results.setSession(make_session(to_));
    auto welcome = results.initWelcome();
    welcome.setProtocol(options.protocol);
    welcome.setBeatMs(static_cast<std::uint32_t>(options.beat.count()));
    welcome.setLostAfterMs(static_cast<std::uint32_t>(options.lost_after.count()));
    return kj::READY_NOW;
  }

 private:
  std::weak_ptr<head_connection> to_;
};

/// A reply that is given once, at the latest when nobody can give it any more.
class one_reply {
 public:
  one_reply(std::function<void(result<void>)> to, std::string node)
      : to_(std::move(to)), node_(std::move(node)) {}
  ~one_reply() { give(error{errc::unavailable, "node " + node_ + " was lost meanwhile"}); }
  void give(const result<void>& outcome) {
    if (auto to = std::exchange(to_, nullptr)) to(outcome);
  }

 private:
  std::function<void(result<void>)> to_;
  const std::string node_;
};

std::string cut(capnp::Text::Reader text, std::size_t bytes_max) {
  return std::string(beginning({text.begin(), text.size()}, bytes_max));
}

error differs(const char* what, const std::string& node, const std::string& theirs,
              const std::string& ours) {
  return {errc::conflict, std::string(what) + " of node " + node + " is \"" + theirs +
                              "\", this cluster's is \"" + ours + "\""};
}

}  // namespace

head_connection::head_connection(head_context& shared, const std::string& common_name)
    : shared_(shared), shown_(split_name(common_name)), calls_(new kj::TaskSet(*this)) {}

head_connection::~head_connection() noexcept { leave("the link was closed"); }

kj::Promise<std::string> head_connection::serve(kj::Own<kj::AsyncIoStream> stream) {
  auto closing = kj::newPromiseAndFulfiller<std::string>();
  closing_ = kj::mv(closing.fulfiller);
  rpc_ = kj::heap<connection>(kj::mv(stream), capnp::rpc::twoparty::Side::SERVER,
                              capnp::Capability::Client(kj::heap<head_server>(weak_from_this())),
                              with_chunks(shared_.options.bounds),
                              with_unread_bounds(node_quota, shared_.options.unread_for_max),
                              shared_.on.timer());
  auto unread = rpc_->on_unread().then([this] {
    return "it has not read what it was told for " +
           std::to_string(shared_.options.unread_for_max.count()) + " ms";
  });
  return rpc_->on_disconnect()
      .then([] { return std::string("the connection was lost"); })
      .exclusiveJoin(kj::mv(unread))
      .exclusiveJoin(watch())
      .exclusiveJoin(kj::mv(closing.promise));
}

// Counts its own ticks: a head that was itself held up must not take the beats that wait in its
// socket for silence. Whatever a joined node sends is a sign of life: a beat may wait behind many
// tokens. While nothing is read of it, on_unread tells whether it is still there.
kj::Promise<std::string> head_connection::watch() {
  const auto tick =
      std::max(shared_.options.lost_after / watch_parts, std::chrono::milliseconds(1));
  return shared_.on.timer()
      .afterDelay(to_kj(tick))
      .then([this, tick]() -> kj::Promise<std::string> {
        silence_ += tick;
        const auto heard = rpc_->received();
        const bool speaks = std::exchange(heard_, heard) != heard || rpc_->held_back();
        if (!node_.empty() && speaks) silence_ = {};
        if (silence_ < shared_.options.lost_after) return watch();
        return std::string(node_.empty() ? "it did not join within " : "no beat for ") +
               std::to_string(silence_.count()) + " ms";
      });
}

void head_connection::close(const std::string& reason) {
  if (closing_ && closing_->isWaiting()) closing_->fulfill(std::string(reason));
}

void head_connection::leave(const std::string& reason) {
  if (node_.empty() || std::exchange(left_, true)) return;
  requests_->end_all({errc::unavailable, "node " + node_ + " was lost: " + reason});
  calls_.reset();
  peer_ = nullptr;
  caf::anon_send(shared_.to.supervisor, actors::leave_atom::value, node_, incarnation_, reason);
}

result<void> head_connection::may_join(schema::Hello::Reader hello) const {
  const auto& options = shared_.options;
  const std::string name(hello.getName().begin(), hello.getName().size());
  if (!node_.empty()) return error{errc::conflict, "this connection has joined already"};
  if (node_common_name(name) != shown_.name) {
    return error{errc::forbidden, "the certificate is for \"" + shown_.name +
                                      "\" and cannot join as node \"" +
                                      cut(hello.getName(), hello_text_max) + "\""};
  }
  const auto planned = options.nodes.find(name);
  if (planned == options.nodes.end()) {
    return error{errc::not_found, "node \"" + name + "\" is not in the manifest"};
  }
  auto accepted = options.members->admits(name, planned->second.site, shown_.id);
  if (!accepted) return accepted;
  if (const auto protocol = hello.getProtocol();
      protocol != options.protocol && protocol + 1 != options.protocol) {
    return error{errc::conflict, "node " + name + " speaks protocol " + std::to_string(protocol) +
                                     "; this head speaks " + std::to_string(options.protocol) +
                                     " and the one before"};
  }
  const auto same = [&](const char* what, capnp::Text::Reader theirs, const std::string& ours) {
    return theirs == ours.c_str() ? result<void>()
                                  : differs(what, name, cut(theirs, hello_text_max), ours);
  };
  if (auto site = same("site", hello.getSite(), planned->second.site); !site) return site;
  if (auto base = same("base", hello.getBaseDigest(), options.base_digest); !base) return base;
  if (auto words = same("tokenizer", hello.getTokenizerDigest(), options.tokenizer_digest);
      !words) {
    return words;
  }
  if (auto timely = not_ahead(hello.getIncarnation(), name); !timely) return timely;
  const auto known = shared_.incarnations.find(name);
  if (known != shared_.incarnations.end() && hello.getIncarnation() < known->second) {
    return error{errc::conflict, "incarnation " + std::to_string(hello.getIncarnation()) +
                                     " of node " + name + " is older than " +
                                     std::to_string(known->second) + ", which has joined before"};
  }
  return {};
}

// What has joined keeps out what is older: a number from the far future would keep out for ever.
// The head's own nodes are numbered by the head.
result<void> head_connection::not_ahead(std::uint64_t incarnation, const std::string& name) const {
  const auto& members = *shared_.options.members;
  const auto most = static_cast<std::uint64_t>(members.unix_time() + ahead_max_s) << 16;
  if (!members.runs_elsewhere(name) || incarnation <= most) return {};
  return error{errc::conflict,
               "incarnation " + std::to_string(incarnation) + " of node " + name +
                   " is more than an hour ahead of this head's clock (" + std::to_string(most) +
                   "); set the clock that is wrong, and if that is the node's, remove the file "
                   "\"incarnation\" from its folder"};
}

result<void> head_connection::join(schema::Hello::Reader hello, schema::Node::Client node) {
  if (auto fits = may_join(hello); !fits) return fits;
  const auto said = msg<schema::Hello>::copy_of(
      hello, limits{}.word_bytes_max);  // throws before anything has changed
  const std::string name = hello.getName().cStr();
  // The node holds this one, so those before it have had their time.
  if (auto noted = shared_.options.members->holds(name, shown_.id); !noted) return noted;
  shared_.replace(name, "it joined again");
  node_ = hello.getName().cStr();
  const auto& planned = shared_.options.nodes.at(node_);
  speaker_ = {node_, planned.site, shared_.options.members->runs_elsewhere(node_), planned.replicas,
              planned.tenants};
  incarnation_ = hello.getIncarnation();
  shared_.incarnations[node_] = incarnation_;
  silence_ = {};
  requests_ = std::make_unique<remote_requests>(node_, node);
  peer_ = kj::mv(node);
  const way_to_node way{shared_.on.outside(), weak_from_this(), node_};
  caf::anon_send(shared_.to.supervisor, actors::join_atom::value, said,
                 spawn_router_proxy(shared_.system, way), spawn_node_proxy(shared_.system, way));
  return {};
}

double head_connection::now_s() const {
  return static_cast<double>((shared_.on.timer().now() - kj::origin<kj::TimePoint>()) /
                             kj::MICROSECONDS) /
         1e6;
}

void head_connection::keep_pace() {
  if (calls_pace_.take(now_s())) return;
  refuse({errc::rate_limited, "node " + node_ + " calls its head too often", 1000});
}

bool head_connection::keeps_training_pace() { return training_pace_.take(now_s()); }

void head_connection::beat(schema::Snapshot::Reader snapshot) {
  silence_ = {};
  keep_pace();
  if (auto own = check(speaks_for(), snapshot); !own) refuse(own.failure());
  if (left_) refuse({errc::conflict, "node " + node_ + " has joined on another connection"});
  caf::anon_send(shared_.to.supervisor, actors::beat_atom::value, node_, incarnation_,
                 msg<schema::Snapshot>::copy_of(snapshot, limits{}.snapshot_bytes_max));
}

void head_connection::event(schema::Event::Reader event) {
  if (!events_pace_.take(now_s()))
    refuse({errc::rate_limited, "node " + node_ + " sends events too fast", 1000});
  auto named = msg<schema::Event>::build([&](schema::Event::Builder to) {
    to.setAgeMs(event.getAgeMs());
    to.setLevel(event.getLevel());
    to.setNode(node_.c_str());  // whatever it says of itself
    to.setKind(cut(event.getKind(), event_kind_max));
    to.setMessage(cut(event.getMessage(), event_text_max));
  });
  caf::anon_send(shared_.to.telemetry, std::move(named));
}

/// A node that beats but answers nothing would have us remember every call.
void head_connection::keep(kj::Promise<void> call) {
  ++unanswered_;
  calls_->add(call.attach(kj::defer([this] { --unanswered_; })));
  if (unanswered_ > unanswered_max)
    close("it left " + std::to_string(unanswered_max) + " calls unanswered");
}

void head_connection::generate(const msg<schema::Request>& request,
                               const actors::sink_actor& sink) {
  requests_->start(request, sink);
}

void head_connection::cancel(request_id id, const actors::sink_actor& sink) {
  requests_->cancel(id, sink);
}

void head_connection::announce(const msg<VersionRecord>& record) {
  KJ_IF_MAYBE (peer, peer_) {
    auto call = peer->versionRequest();
    call.setRecord(*record.read());
    keep(call.send().ignoreResult());
  }
}

void head_connection::versions(std::function<void(result<msg<VersionList>>)> reply) {
  KJ_IF_MAYBE (peer, peer_) {
    keep(peer->versionsRequest().send().then(
        [reply](capnp::Response<schema::Node::VersionsResults>&& answer) {
          reply(listed(answer.getList()));
        },
        [reply](kj::Exception&& e) { reply(from_exception(e)); }));
  } else {
    reply(error{errc::unavailable, "node " + node_ + " is not connected"});
  }
}

void head_connection::rotate(std::function<void(result<void>)> reply) {
  auto once = std::make_shared<one_reply>(std::move(reply), node_);
  KJ_IF_MAYBE (peer, peer_) {
    keep(peer->rotateRequest().send().then(
        [once](capnp::Response<schema::Node::RotateResults>&& answer) {
          once->give(from_wire(answer.getResult()));
        },
        [once](kj::Exception&& e) { once->give(from_exception(e)); }));
  }
}

void head_connection::load(const std::string& adapter, const std::string& folder,
                           node_owed<msg<VersionRecord>> reply) {
  KJ_IF_MAYBE (peer, peer_) {
    auto call = peer->loadRequest();
    call.setAdapter(adapter.c_str());
    call.setFolder(folder.c_str());
    keep(call.send().then(
        [reply](capnp::Response<schema::Node::LoadResults>&& answer) {
          reply->answer(from_wire(answer.getResult()));
        },
        [reply](kj::Exception&& e) { reply->answer(from_exception(e)); }));
  }
}

void head_connection::unload(const version_id& id, node_owed<void> reply) {
  KJ_IF_MAYBE (peer, peer_) {
    auto call = peer->unloadRequest();
    call.setAdapter(id.name);
    call.setNumber(id.number);
    keep(call.send().then(
        [reply](capnp::Response<schema::Node::UnloadResults>&&) { reply->answer({}); },
        [reply](kj::Exception&& e) { reply->answer(from_exception(e)); }));
  }
}

void head_connection::drain(std::uint32_t deadline_ms, node_owed<void> reply) {
  KJ_IF_MAYBE (peer, peer_) {
    auto call = peer->drainRequest();
    call.setDeadlineMs(deadline_ms);
    keep(call.send().then(
        [reply](capnp::Response<schema::Node::DrainResults>&&) { reply->answer({}); },
        [reply](kj::Exception&& e) { reply->answer(from_exception(e)); }));
  }
}

void head_connection::taskFailed(kj::Exception&& e) {
  const auto why = from_exception(e);
  if (shared_.options.log) {
    shared_.options.log(schema::EventLevel::WARNING,
                        "a call to node " + node_ + " failed: " + why.message);
  }
}

}  // namespace collm::link
