// For link_session_fuzz: the head's end of the link behind its TLS, a hostile node's connection to
// it, and an honest node beside. What link_server does between TLS and head_connection is done
// here, so that a connection costs no handshake and its certificate is whatever the input says.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "link/connection.hpp"
#include "link/head_connection.hpp"
#include "link/x509.hpp"
#include "messages/link.capnp.h"
#include "tests/fuzz/link_session_actors.hpp"
#include "tests/fuzz/link_session_fuzz.hpp"
#include "tests/fuzz/link_session_stage.hpp"
#include "tests/fuzz/taken.hpp"

namespace collm::fuzz {

/// Of this process; removed at its end.
inline const std::filesystem::path& private_folder() {
  static const struct holder {
    const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                       ("collm-link-session-fuzz-" + std::to_string(::getpid()));
    ~holder() { std::filesystem::remove_all(path); }
  } one;
  return one.path;
}

/// The authority of a cluster whose nodes edge-a and edge-b the head starts, and edge-c not.
struct membership {
  const std::filesystem::path folder = private_folder();
  std::shared_ptr<link::authority> members;
  std::map<std::string, std::string> shown;  ///< node -> what its certificate shows

  membership() {
    COLLM_ASSERT(link::ensure_certificates(folder, "demo",
                                           {{"edge-a", "kitchen"}, {honest_node, "kitchen"}}));
    members = taken(link::authority::open(
        folder, {{"edge-a", {"kitchen"}}, {honest_node, {"kitchen"}}, {"edge-c", {"yard", true}}},
        [] { return a_time; }));
    for (const std::string node : {"edge-a", honest_node})
      note(node, taken(link::certificate_id(link::node_files(folder, node).certificate)));
    const auto token = taken(members->issue("edge-c", "127.0.0.1:1", 60));
    const auto signed_one =
        taken(members->enrol(taken(link::x509::from_hex(token.secret)), signing_request()));
    const auto certificate =
        taken(link::x509::certificate_from_pem(signed_one.certificate, "edge-c's"));
    note("edge-c", link::x509::id_of(certificate.get()));
  }

 private:
  void note(const std::string& node, const std::string& id) {
    shown[node] = link::to_shown_name(link::node_common_name(node), id);
  }
};

/// Answers its head as a node does that has nothing to tell.
class honest_server final : public schema::Node::Server {
  kj::Promise<void> versions(VersionsContext context) override {
    context.getResults().initList().initVersions(1)[0].setAdapter("on-node");
    return kj::READY_NOW;
  }
};

class head_rig final : private kj::TaskSet::ErrorHandler {
 public:
  explicit head_rig(stage& on) : on_(on) {
    on_.run([this] { open(); });
    rejoin();
  }
  /// A node's connection, of which nothing was heard before; its end. Loop thread.
  kj::Own<kj::AsyncIoStream> visit(bool elsewhere) {
    const std::string node = elsewhere ? "edge-c" : "edge-a";
    const auto& planned = head_->options.nodes.at(node);
    book_->visit = {};
    book_->visit.by = {node, planned.site, elsewhere, planned.replicas, planned.tenants};
    head_->accounts.clear();
    head_->incarnations.erase(node);
    rotates_ = rotated_ = 0;
    auto [ours, connection] = accept(node);
    visitor_ = connection;
    return kj::mv(ours);
  }
  /// What an operator may want of a node once it has joined.
  void rotate() {
    on_.run([this] {
      const auto there = visitor_.lock();
      if (!there || !there->is_joined() || rotates_ > 0) return;
      ++rotates_;
      there->rotate([this](const result<void>&) { ++rotated_; });
    });
  }
  /// The visitor is gone, everybody has heard of it and has his answers, and nothing is left of it.
  void check_left() {
    on_.run([this] {
      caf::anon_send(head_->to.aggregators.at(silent_adapter), actors::status_atom::value);
    });
    on_.settle();
    on_.run([this] {
      const auto& visit = book_->visit;
      COLLM_ASSERT(visitor_.expired() && connections_ == 1);
      COLLM_ASSERT(visit.left == visit.joined);
      COLLM_ASSERT(visit.answered == visit.asked);
      COLLM_ASSERT(visit.ended == visit.requests);
      COLLM_ASSERT(rotated_ == rotates_);
    });
  }
  /// The honest node is answered as before; `thorough`: heard and reached, too. From time to time
  /// it joins anew, as a node may call its head so often only.
  void check_good(bool thorough) {
    if (++checks_ % rejoins_each == 0) rejoin();
    const auto beats = book_->honest_beats, answers = book_->honest_answers;
    bool answered = false;
    on_.run([&] {
      auto& session = KJ_ASSERT_NONNULL(session_);
      asked_ = session.versionsRequest().send().then([&](auto&& got) {
        answered = is(got.getList().getVersions()[0].getAdapter(), "from-head");
      });
      if (thorough) {
        auto beat = session.beatRequest();
        beat.initSnapshot().setNode(honest_node);
        asked_ = kj::joinPromises(kj::arr(kj::mv(asked_), beat.send().ignoreResult()));
        caf::anon_send(head_->to.supervisor, actors::slot_atom::value);
      }
      asked_ = asked_.eagerlyEvaluate([](kj::Exception&&) {});
    });
    on_.settle();
    COLLM_ASSERT(answered);
    COLLM_ASSERT(book_->honest_beats == beats + thorough);
    COLLM_ASSERT(book_->honest_answers == answers + thorough);
  }

 private:
  static constexpr unsigned rejoins_each = 200;  // of 256 calls at once

  void open() {
    auto& system = on_.system();
    link::server_options options;
    options.cluster = "demo";
    options.members = of_.members;
    options.nodes = {{"edge-a", {"kitchen", 2}},
                     {honest_node, {"kitchen"}},
                     {"edge-c", {"yard", 1, {"gardener"}}}};
    options.base_digest = base_digest;
    options.tokenizer_digest = tokenizer_digest;
    // Nobody beats here unless an input says so, and a busy machine is no silence.
    options.lost_after = options.unread_for_max = std::chrono::hours(24);
    options.log = [](schema::EventLevel, const std::string& line) { COLLM_ASSERT(!line.empty()); };
    link::server_actors to{spawn_supervisor(system, book_), spawn_registry(system, book_),
                           spawn_telemetry(system, book_)};
    for (const auto* adapter : {adapter_name, silent_adapter})
      to.aggregators[adapter] = spawn_aggregator(system, book_, adapter);
    to.coordinator = spawn_coordinator(system, book_);
    head_.reset(new link::head_context{on_.loop(),
                                       system,
                                       std::move(options),
                                       std::move(to),
                                       link::spawn_courier(system),
                                       {},
                                       {},
                                       {}});
    head_->replace = [this](const std::string& node, const std::string& reason) {
      for (const auto& held : served_) {
        const auto there = held.lock();
        if (!there || there->node() != node) continue;
        there->leave(reason);
        there->close(reason);
      }
    };
    tasks_.reset(new kj::TaskSet(*this));
  }

  /// As link_server does once the certificate is known.
  std::pair<kj::Own<kj::AsyncIoStream>, std::weak_ptr<link::head_connection>> accept(
      const std::string& node) {
    auto pipe = on_.loop().io().newTwoWayPipe();
    auto peer = std::make_shared<link::head_connection>(*head_, of_.shown.at(node));
    const std::weak_ptr<link::head_connection> seen = peer;
    std::erase_if(served_, [](const auto& held) { return held.expired(); });
    served_.push_back(seen);
    ++connections_;
    auto served = peer->serve(kj::mv(pipe.ends[0]));
    tasks_->add(
        served.then([peer](std::string&& reason) { peer->leave(reason); }).attach(kj::defer([this] {
          --connections_;
        })));
    return {kj::mv(pipe.ends[1]), seen};
  }
  void taskFailed(kj::Exception&&) override { ++reached()["connection failed"]; }

  void rejoin() {
    bool joined = false;
    on_.run([&] {
      asked_ = nullptr;
      session_ = nullptr;
      honest_ = nullptr;
      auto ours = accept(honest_node).first;
      honest_ = kj::heap<link::connection>(kj::mv(ours), capnp::rpc::twoparty::Side::CLIENT,
                                           nullptr, limits{}, link::quota{}, on_.loop().timer());
      auto call = honest_->peer().castAs<schema::Head>().joinRequest();
      auto hello = call.initHello();
      hello.setName(honest_node);
      hello.setSite("kitchen");
      hello.setIncarnation(1);
      hello.setProtocol(link::protocol_current);
      hello.setBaseDigest(base_digest);
      hello.setTokenizerDigest(tokenizer_digest);
      call.setNode(kj::heap<honest_server>());
      asked_ = call.send()
                   .then([&](auto&& got) {
                     session_ = got.getSession();
                     joined = true;
                   })
                   .eagerlyEvaluate([](kj::Exception&&) {});
    });
    on_.settle();
    COLLM_ASSERT(joined && connections_ == 1);
  }

  stage& on_;
  const membership of_;
  const book_ptr book_ = std::make_shared<book>();
  // Loop thread only, all of it.
  std::unique_ptr<link::head_context> head_;
  std::vector<std::weak_ptr<link::head_connection>> served_;
  std::uint32_t connections_ = 0, rotates_ = 0, rotated_ = 0;
  std::weak_ptr<link::head_connection> visitor_;
  std::unique_ptr<kj::TaskSet> tasks_;
  kj::Own<link::connection> honest_;
  kj::Maybe<schema::Session::Client> session_;  // of the honest node
  kj::Promise<void> asked_ = nullptr;
  unsigned checks_ = 0;
};

}  // namespace collm::fuzz
