#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <gmock/gmock.h>
#include <kj/io.h>

#include <cstdlib>
#include <fstream>

#include "link/outcome.hpp"
#include "link/x509.hpp"
#include "tests/unit/link_fixture.hpp"

namespace collm::link::testing {
namespace {

using namespace collm::actors;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class link_join : public cluster_test {
 protected:
  link_join() { start_head(); }

  /// What the head says to a hand-written peer that joins as `hello` with the certificate of
  /// `node`.
  std::string join(raw_peer& peer, const std::string& node, msg<schema::Hello> hello) {
    const auto files = node_files(demo_certificates(), node);
    peer.connect_tls(port_, &files, files.authority);
    peer.speak();
    auto call = peer.peer<schema::Head>().joinRequest();
    call.setHello(*hello.read());
    call.setNode(nullptr);
    return peer.failure(call.send().ignoreResult());
  }
  std::string refused(const std::string& node, msg<schema::Hello> hello) {
    raw_peer peer;
    return join(peer, node, std::move(hello));
  }
  template <class F>
  msg<schema::Hello> changed(F&& change) {
    return msg<schema::Hello>::build([&](schema::Hello::Builder to) {
      to.setName("edge-a");
      to.setSite("kitchen");
      to.setIncarnation(1);
      to.setProtocol(protocol_current);
      to.setBaseDigest("base-1");
      to.setTokenizerDigest("words-1");
      change(to);
    });
  }
  void TearDown() override {
    EXPECT_TRUE(nobody_expected_ == board_->look([](const board& b) { return b.joins.empty(); }));
  }

  bool nobody_expected_ = false;
};

class link_refusal : public link_join {
 protected:
  link_refusal() { nobody_expected_ = true; }
};

TEST_F(link_join, brings_the_node_and_its_beats_to_the_supervisor) {
  node_ = start_node("edge-a", 4);
  const auto joined = board_->join(0);
  EXPECT_EQ(joined.name, "edge-a");
  EXPECT_EQ(joined.incarnation, 4u);
  EXPECT_TRUE(board_->wait(
      [](const board& b) { return b.beats.contains("edge-a") && b.beats.at("edge-a") >= 3; }));
  EXPECT_TRUE(node_->connected());
}

TEST_F(link_join, ends_with_a_leave_when_the_node_goes) {
  node_ = start_node("edge-a", 4);
  board_->join(0);
  node_.reset();
  ASSERT_TRUE(board_->wait([](const board& b) { return !b.leaves.empty(); }));
  EXPECT_EQ(board_->look([](const board& b) { return b.leaves[0].name; }), "edge-a");
  EXPECT_EQ(board_->look([](const board& b) { return b.leaves[0].incarnation; }), 4u);
}

TEST_F(link_refusal, of_a_certificate_of_another_authority) {
  raw_peer peer;
  const auto files = node_files(foreign_certificates(), "edge-a");
  peer.connect_tls(port_, &files, node_files(demo_certificates(), "edge-a").authority);
  EXPECT_TRUE(peer.closed());
  EXPECT_TRUE(board_->wait_log("was refused"));
}

TEST_F(link_join, tells_of_many_refused_peers_in_one_line) {
  const auto files = node_files(foreign_certificates(), "edge-a");
  const auto trust = node_files(demo_certificates(), "edge-a").authority;
  for (int i = 0; i < 12; ++i) {
    raw_peer peer;
    peer.connect_tls(port_, &files, trust);
    EXPECT_TRUE(peer.closed());
  }
  node_ = start_node("edge-a");  // who joins after them is served after them
  board_->join(0);
  const auto lines = board_->look([](const board& b) {
    return std::count_if(b.log.begin(), b.log.end(), [](const std::string& line) {
      return line.find("refused") != std::string::npos;
    });
  });
  EXPECT_EQ(lines, 1);
}

TEST_F(link_refusal, of_a_peer_without_certificate) {
  raw_peer peer;
  peer.connect_tls(port_, nullptr, node_files(demo_certificates(), "edge-a").authority);
  EXPECT_TRUE(peer.closed());
}

TEST_F(link_refusal, of_the_heads_own_certificate_as_a_node) {
  raw_peer peer;
  const auto files = head_files(demo_certificates());
  peer.connect_tls(port_, &files, files.authority);
  EXPECT_TRUE(peer.closed());
}

TEST_F(link_refusal, of_a_head_that_another_authority_made) {
  auto options = node_options("edge-a");
  options.tls = node_files(foreign_certificates(), "edge-a");
  node_ = make_client(std::move(options));
  node_->serve(node_actors());
  EXPECT_TRUE(board_->wait_log("certificate verify failed"));
  EXPECT_FALSE(node_->connected());
}

TEST_F(link_refusal, of_a_head_of_another_cluster) {
  auto options = node_options("edge-a");
  options.cluster = "prod";
  node_ = make_client(std::move(options));
  node_->serve(node_actors());
  EXPECT_TRUE(board_->wait_log("link: "));
  EXPECT_FALSE(node_->connected());
}

TEST_F(link_refusal, names_what_differs) {
  EXPECT_THAT(
      refused("edge-b", make_hello("edge-a")),
      HasSubstr(
          "forbidden: the certificate is for \"edge-b.node\" and cannot join as node \"edge-a\""));
  EXPECT_THAT(refused("stray", make_hello("stray")), HasSubstr("\"stray\" is not in the manifest"));
  EXPECT_THAT(refused("edge-a", changed([](auto to) { to.setBaseDigest("base-2"); })),
              HasSubstr("base of node edge-a is \"base-2\", this cluster's is \"base-1\""));
  EXPECT_THAT(refused("edge-a", changed([](auto to) { to.setTokenizerDigest("words-2"); })),
              HasSubstr("tokenizer of node edge-a is \"words-2\""));
  EXPECT_THAT(refused("edge-a", changed([](auto to) { to.setSite("workshop"); })),
              HasSubstr("site of node edge-a is \"workshop\", this cluster's is \"kitchen\""));
  EXPECT_THAT(refused("edge-a", changed([](auto to) { to.setProtocol(protocol_current + 1); })),
              HasSubstr("this head speaks 1 and the one before"));
}

TEST_F(link_join, takes_a_peer_one_protocol_older) {
  EXPECT_EQ(refused("edge-a", changed([](auto to) { to.setProtocol(protocol_current - 1); })), "");
  EXPECT_EQ(board_->join(0).name, "edge-a");
}

// What a node of release 0.1 says first, byte by byte: bootstrap, then join. A head of any later
// one takes it.
std::string first_words() {
  kj::VectorOutputStream bytes;
  const auto say = [&](auto&& fill) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<capnp::rpc::Message>());
    capnp::writeMessage(bytes, message);
  };
  say([](auto to) { to.initBootstrap().setQuestionId(0); });
  say([](auto to) {
    auto call = to.initCall();
    call.setQuestionId(1);
    call.initTarget().initPromisedAnswer().setQuestionId(0);
    call.setInterfaceId(capnp::typeId<schema::Head>());
    call.setMethodId(0);
    auto hello =
        call.initParams().getContent().template initAs<schema::Head::JoinParams>().initHello();
    hello.setName("edge-a");
    hello.setSite("kitchen");
    hello.setIncarnation(1);
    hello.setProtocol(1);
    hello.setBaseDigest("base-1");
    hello.setTokenizerDigest("words-1");
  });
  const auto all = bytes.getArray();
  return x509::to_hex({reinterpret_cast<const char*>(all.begin()), all.size()});
}

TEST_F(link_join, takes_the_frozen_first_words_of_an_older_release) {
  const std::string file = COLLM_SOURCE_DIR "/tests/unit/data/link_first_words.txt";
  if (std::getenv("COLLM_WRITE_FROZEN")) std::ofstream(file) << first_words() << "\n";
  std::string frozen;
  std::ifstream(file) >> frozen;
  EXPECT_EQ(first_words(), frozen) << "an ordinal, an interface or a method has changed its place";
  const auto files = node_files(demo_certificates(), "edge-a");
  raw_peer peer;
  peer.connect_tls(port_, &files, files.authority);
  const auto bytes = *x509::from_hex(frozen);
  EXPECT_EQ(peer.failure(peer.stream().write(bytes.data(), bytes.size())), "");
  EXPECT_EQ(board_->join(0).name, "edge-a");
}

TEST_F(link_join, refuses_an_incarnation_that_was_followed_by_another) {
  EXPECT_EQ(refused("edge-a", make_hello("edge-a", 7)), "");
  EXPECT_THAT(refused("edge-a", make_hello("edge-a", 6)),
              HasSubstr("incarnation 6 of node edge-a is older than 7"));
  board_->join(0);
}

TEST_F(link_join, happens_once_a_connection) {
  raw_peer peer;
  EXPECT_EQ(join(peer, "edge-a", make_hello("edge-a")), "");
  auto again = peer.peer<schema::Head>().joinRequest();
  again.setHello(*make_hello("edge-a").read());
  EXPECT_THAT(peer.failure(again.send().ignoreResult()), HasSubstr("has joined already"));
  board_->join(0);
}

TEST_F(link_join, notices_a_silent_node_in_time) {
  raw_peer peer;
  ASSERT_EQ(join(peer, "edge-a", make_hello("edge-a")), "");
  const auto joined = std::chrono::steady_clock::now();
  EXPECT_TRUE(
      peer.closed());  // it answers at the RPC level, as a stopped process would not even do
  ASSERT_TRUE(board_->wait([](const board& b) { return !b.leaves.empty(); }));
  const auto left = board_->look([](const board& b) { return b.leaves[0]; });
  EXPECT_THAT(left.reason, HasSubstr("no beat for 2000 ms"));
  EXPECT_GE(left.when - joined, head_options().lost_after * 3 / 4);
  EXPECT_LE(left.when - joined, head_options().lost_after + milliseconds(1500));  // a busy machine
  board_->join(0);
}

TEST_F(link_refusal, of_a_peer_that_never_joins) {
  raw_peer peer;
  const auto files = node_files(demo_certificates(), "edge-a");
  peer.connect_tls(port_, &files, files.authority);
  EXPECT_TRUE(peer.closed());
}

TEST_F(link_refusal, of_a_peer_that_never_shakes_hands) {
  raw_peer idle;
  idle.connect(port_);
  EXPECT_TRUE(idle.closed());
}

TEST_F(link_join, survives_garbage_on_its_port) {
  std::uint32_t state = 12345;
  for (int i = 0; i < 40; ++i) {
    raw_peer peer;
    peer.connect(port_);
    std::string bytes(1 + i * 13, '\0');
    for (auto& c : bytes) c = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
    peer.failure(peer.stream().write(bytes.data(), bytes.size()));
  }
  node_ = start_node("edge-a");
  EXPECT_EQ(board_->join(0).name, "edge-a");
}

TEST_F(link_join, replaces_the_connection_of_a_node_that_joins_again) {
  node_ = start_node("edge-a", 1);
  board_->join(0);
  auto second =
      start_node("edge-a", 2);  // restarted; the head has not noticed the end of the first
  board_->join(1);
  EXPECT_TRUE(board_->wait([](const board& b) { return b.order.size() >= 3; }));
  EXPECT_THAT(board_->look(
                  [](const board& b) { return std::vector(b.order.begin(), b.order.begin() + 3); }),
              ElementsAre("join 1", "leave 1", "join 2"));
  EXPECT_TRUE(board_->wait_log("is older than 2"));  // the first tries again, in vain
}

TEST_F(link_join, comes_back_after_the_head_was_away) {
  std::vector<link_state> states;
  auto options = node_options("edge-a");
  options.on_state = [&states, to = board_](link_state now, const std::string&) {
    to->note([&](board&) { states.push_back(now); });
  };
  node_ = make_client(std::move(options));
  node_->serve(node_actors());
  board_->join(0);
  head_.reset();
  ASSERT_TRUE(board_->wait([&](const board&) { return states.size() == 2; }));
  start_head("127.0.0.1:" + std::to_string(port_));
  board_->join(1);
  ASSERT_TRUE(board_->wait([&](const board&) { return states.size() == 3; }));
  EXPECT_THAT(states, ElementsAre(link_state::connected, link_state::lost, link_state::connected));
}

TEST_F(link_join, refuses_a_port_that_is_taken) {
  auto options = head_options();
  options.listen = "127.0.0.1:" + std::to_string(port_);
  auto made =
      link_server::start(head_loop_, system_, options,
                         {spawn_supervisor(system_, board_), spawn_registry(system_, board_),
                          spawn_telemetry(system_, board_, "head")});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.failure().code, errc::io);
  EXPECT_THAT(made.failure().message, HasSubstr(options.listen));
  node_ = start_node("edge-a");
  board_->join(0);
}

// -- the registry and the node's actors, from the other side

class link_calls : public link_join {
 protected:
  template <class T, class Actor, class... Args>
  T ask(const Actor& to, Args... args) {
    caf::scoped_actor self{system_};
    T out;
    self->request(to, std::chrono::seconds(20), args...)
        .receive([&](const T& answer) { out = answer; },
                 [&](const caf::error& e) { ADD_FAILURE() << "no answer: " << system_.render(e); });
    return out;
  }
  using record = reply<msg<schema::VersionRecord>>;

  static msg<schema::Register> make_register(const std::string& node, const std::string& digest) {
    return msg<schema::Register>::build([&](schema::Register::Builder to) {
      to.setAdapter("assistant");
      to.setNode(node.c_str());
      to.setDigest(digest.c_str());
    });
  }
};

TEST_F(link_calls, reach_the_registry_from_a_node) {
  node_ = make_client(node_options("edge-a"));
  const auto before = ask<record>(node_->registry(), make_register("edge-a", "d1"));
  ASSERT_FALSE(*before);
  EXPECT_EQ(before->failure().code, errc::unavailable);
  EXPECT_THAT(before->failure().message, HasSubstr("link to the head at 127.0.0.1"));
  node_->serve(node_actors());
  ASSERT_TRUE(board_->wait([&](const board& b) { return b.beats.contains("edge-a"); }));
  const auto found = ask<record>(node_->registry(), make_register("edge-a", "d1"));
  ASSERT_TRUE(*found) << found->failure().message;
  EXPECT_EQ((**found).read()->getNumber(), 5u);
  const auto refused = ask<record>(node_->registry(), make_register("edge-a", ""));
  ASSERT_FALSE(*refused);
  EXPECT_EQ(refused->failure().code, errc::conflict);
  EXPECT_EQ(refused->failure().retry_after_ms, 7u);
  const auto forged = ask<record>(node_->registry(), make_register("edge-b", "d1"));
  ASSERT_FALSE(*forged);
  EXPECT_EQ(forged->failure().code, errc::forbidden);
  const auto list = ask<reply<msg<schema::VersionList>>>(node_->registry(), list_atom::value);
  ASSERT_TRUE(*list);
  EXPECT_STREQ((**list).read()->getVersions()[0].getAdapter().cStr(), "from-head");
  const auto retired = ask<record>(node_->registry(), unload_atom::value, std::string("assistant"));
  ASSERT_TRUE(*retired) << retired->failure().message;
  EXPECT_EQ((**retired).read()->getNumber(), 5u);
}

TEST_F(link_calls, of_a_node_to_promote_are_refused) {
  node_ = start_node("edge-a");
  const auto promoted =
      ask<record>(node_->registry(), promote_atom::value, version_id{"assistant", 2});
  ASSERT_FALSE(*promoted);
  EXPECT_EQ(promoted->failure().code, errc::forbidden);
  EXPECT_THAT(promoted->failure().message, HasSubstr("a node cannot promote"));
  const auto back = ask<record>(node_->registry(), rollback_atom::value, std::string("assistant"));
  EXPECT_FALSE(*back);
  board_->join(0);
}

TEST_F(link_calls, reach_the_nodes_actors_from_the_head) {
  node_ = start_node("edge-a");
  const auto there = board_->join(0);
  const auto loaded =
      ask<record>(there.node, load_atom::value, std::string("assistant"), std::string("/a/b"));
  ASSERT_TRUE(*loaded) << loaded->failure().message;
  EXPECT_EQ((**loaded).read()->getNumber(), 3u);
  EXPECT_THAT(board_->look([](const board& b) { return b.loads; }),
              ElementsAre("assistant from /a/b"));
  EXPECT_TRUE(*ask<reply<void>>(there.node, unload_atom::value, version_id{"assistant", 3}));
  EXPECT_THAT(board_->look([](const board& b) { return b.unloads; }), ElementsAre("assistant@3"));
  EXPECT_TRUE(*ask<reply<void>>(there.node, drain_atom::value, 100u));
  EXPECT_EQ(board_->look([](const board& b) { return b.drains; }), 1u);
  const auto names = ask<msg<schema::VersionList>>(there.router, list_atom::value);
  EXPECT_STREQ(names.read()->getVersions()[0].getAdapter().cStr(), "on-node");
  caf::anon_send(there.router,
                 msg<schema::VersionRecord>::build([](auto to) { to.setAdapter("new"); }));
  EXPECT_TRUE(
      board_->wait([](const board& b) { return b.records == std::vector<std::string>{"new"}; }));
}

TEST_F(link_calls, to_a_node_that_is_gone_are_answered_unavailable) {
  node_ = start_node("edge-a");
  const auto there = board_->join(0);
  head_->disconnect("edge-a", "test");
  const auto lost = ask<record>(there.node, load_atom::value, std::string("a"), std::string("b"));
  ASSERT_FALSE(*lost);
  EXPECT_EQ(lost->failure().code, errc::unavailable);
  EXPECT_EQ(
      ask<msg<schema::VersionList>>(there.router, list_atom::value).read()->getVersions().size(),
      0u);
  EXPECT_EQ(board_->join(1).name, "edge-a");  // it comes back by itself
}

TEST_F(link_calls, carry_events_under_the_nodes_own_name) {
  node_ = start_node("edge-a");
  ASSERT_TRUE(board_->wait([&](const board& b) { return b.beats.contains("edge-a"); }));
  node_->report(msg<schema::Event>::build([](schema::Event::Builder to) {
    to.setNode("edge-b");
    to.setMessage("loaded");
  }));
  EXPECT_TRUE(board_->wait(
      [](const board& b) { return b.events == std::vector<std::string>{"edge-a: loaded"}; }));
  board_->join(0);
}

}  // namespace
}  // namespace collm::link::testing
