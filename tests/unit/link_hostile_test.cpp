// A node with a valid certificate that means harm: it reaches what its role allows, pays for what
// it sends, and can end its own connection. Another node is served meanwhile, which every case
// checks.
#include <capnp/rpc.capnp.h>
#include <capnp/serialize-async.h>
#include <gmock/gmock.h>
#include <kj/io.h>

#include <cstring>

#include "link/outcome.hpp"
#include "link/training_rules.hpp"
#include "tests/unit/link_fixture.hpp"

namespace collm::link::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

/// edge-b is an honest node; edge-a is the one that the test plays.
class link_hostile : public cluster_test {
 protected:
  link_hostile() {
    unread_for_max_ = std::chrono::milliseconds(2000);
    aggregators_["assistant"] = spawn_large(system_, board_);
    start_head();
    node_ = start_node("edge-b");
    board_->join(0);
  }
  /// The honest node is where it was and still heard.
  void TearDown() override {
    EXPECT_TRUE(node_->connected());
    const auto beats = heard("edge-b");
    EXPECT_TRUE(board_->wait([&](const board& b) {
      return b.beats.contains("edge-b") && b.beats.at("edge-b") > beats + 1;
    }));
    for (const auto& left : board_->look([](const board& b) { return b.leaves; }))
      EXPECT_EQ(left.name, "edge-a");
    EXPECT_EQ(board_->look([](const board& b) { return b.joins[0].name; }), "edge-b");
  }
  std::uint32_t heard(const std::string& node) {
    return board_->look(
        [&](const board& b) { return b.beats.contains(node) ? b.beats.at(node) : 0; });
  }
  void connect(raw_peer& peer) {
    const auto files = node_files(demo_certificates(), "edge-a");
    peer.connect_tls(port_, &files, files.authority);
  }
  schema::Session::Client join(raw_peer& peer, kj::Maybe<schema::Node::Client> node = nullptr) {
    connect(peer);
    peer.speak();
    auto call = peer.peer<schema::Head>().joinRequest();
    call.setHello(*make_hello("edge-a").read());
    KJ_IF_MAYBE (there, node) call.setNode(kj::mv(*there));
    auto session = peer.wait(call.send()).getSession();
    board_->join(1);
    return session;
  }
  /// Joins by hand, so that what follows on the stream is the test's own.
  void join_raw(raw_peer& peer) {
    connect(peer);
    send(peer, [](capnp::rpc::Message::Builder to) { to.initBootstrap().setQuestionId(0); });
    send(peer, [](capnp::rpc::Message::Builder to) { fill_join(to, 1); });
    board_->join(1);
  }
  /// With a Node that stands for whatever this peer answers.
  static schema::Hello::Builder fill_join(capnp::rpc::Message::Builder to, std::uint32_t question) {
    auto call = to.initCall();
    call.setQuestionId(question);
    call.initTarget().initPromisedAnswer().setQuestionId(0);
    call.setInterfaceId(capnp::typeId<schema::Head>());
    call.setMethodId(0);
    capnp::BuilderCapabilityTable table;
    auto params = table.imbue(call.initParams().getContent()).initAs<schema::Head::JoinParams>();
    params.setNode(schema::Node::Client(capnp::newBrokenCap("described by the table")));
    call.getParams().initCapTable(1)[0].setSenderHosted(0);
    params.setHello(*make_hello("edge-a").read());
    return params.getHello();
  }
  /// Sends what `fill` makes without its last words, which are of the text that it sets last.
  template <class Fill>
  void send_cut(raw_peer& peer, Fill&& fill) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<capnp::rpc::Message>());
    const auto flat = capnp::messageToFlatArray(message);
    std::string bytes(flat.asChars().begin(), flat.asChars().size() - 4 * sizeof(capnp::word));
    const auto words = static_cast<std::uint32_t>(bytes.size() / sizeof(capnp::word) - 1);
    std::memcpy(bytes.data() + 4, &words, sizeof words);
    EXPECT_EQ(write(peer, bytes), "");
  }
  /// The head's next call on this peer: its question.
  std::uint32_t asked(raw_peer& peer) {
    for (;;) {
      auto message = peer.wait(capnp::readMessage(peer.stream()));
      const auto root = message->getRoot<capnp::rpc::Message>();
      if (root.isCall()) return root.getCall().getQuestionId();
    }
  }
  /// What answers the head's question of that number: a list of versions.
  static schema::VersionList::Builder fill_list(capnp::rpc::Message::Builder to,
                                                std::uint32_t question) {
    auto back = to.initReturn();
    back.setAnswerId(question);
    return back.initResults().getContent().initAs<schema::Node::VersionsResults>().initList();
  }
  /// How many versions whoever asks for this peer's hears of when it answers so. 0: as of a node
  /// that is away.
  template <class Answer>
  std::uint32_t told_of(Answer&& answer) {
    raw_peer peer;
    join_raw(peer);
    caf::scoped_actor self{system_};
    auto listed = self->request(board_->join(1).router, patience, actors::list_atom::value);
    answer(peer, asked(peer));
    std::uint32_t told = ~0u;
    listed.receive(
        [&](const msg<schema::VersionList>& list) { told = list.read()->getVersions().size(); },
        [](const caf::error&) { ADD_FAILURE() << "no answer"; });
    return told;
  }
  /// How many chunks of this text answer a request, without end, until it is ended for that.
  std::uint32_t sent_until_ended(const std::string& text);
  static constexpr const char* text_of_some_words = "a text of more than the words that are cut";
  template <class Fill>
  void send(raw_peer& peer, Fill&& fill) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<capnp::rpc::Message>());
    peer.wait(capnp::writeMessage(peer.stream(), message));
  }
  std::string write(raw_peer& peer, std::string_view bytes) {
    return peer.failure(peer.stream().write(bytes.data(), bytes.size()));
  }
  bool left() {
    return board_->wait([](const board& b) { return !b.leaves.empty(); });
  }
};

TEST_F(link_hostile, reaches_no_other_interface_through_what_it_holds) {
  raw_peer peer;
  auto session = join(peer);
  const auto unknown = AnyOf(HasSubstr("not implemented"), HasSubstr("unimplemented"));
  auto head = peer.peer<schema::Head>();
  EXPECT_THAT(peer.failure(head.castAs<schema::Session>().versionsRequest().send().ignoreResult()),
              unknown);
  EXPECT_THAT(peer.failure(head.castAs<schema::Node>().drainRequest().send().ignoreResult()),
              unknown);
  EXPECT_THAT(peer.failure(session.castAs<schema::Gateway>().pingRequest().send().ignoreResult()),
              unknown);
  EXPECT_THAT(peer.failure(session.castAs<schema::Node>().loadRequest().send().ignoreResult()),
              unknown);
  EXPECT_EQ(board_->look([](const board& b) { return b.drains + b.loads.size(); }), 0u);
}

TEST_F(link_hostile, speaks_for_no_other_node_and_no_other_site) {
  raw_peer peer;
  auto session = join(peer);
  auto registers = session.registerRequest();
  registers.initRegister().setNode("edge-b");
  EXPECT_THAT(peer.failure(registers.send().ignoreResult()),
              HasSubstr("node edge-a cannot register for another"));
  auto beat = session.beatRequest();
  beat.initSnapshot().setNode("edge-b");
  EXPECT_THAT(peer.failure(beat.send().ignoreResult()),
              HasSubstr("node edge-a cannot report as \"edge-b\""));
  auto elsewhere = session.beatRequest();
  auto of_another_site = elsewhere.initSnapshot();
  of_another_site.setNode("edge-a");
  of_another_site.setSite("workshop");
  EXPECT_THAT(peer.failure(elsewhere.send().ignoreResult()),
              HasSubstr("cannot speak for \"workshop\""));
  auto shadow = session.shadowRequest();
  shadow.initState().setReplica("edge-b/0");
  EXPECT_THAT(peer.wait(shadow.send()).getResult().getFailure().getMessage().cStr(),
              HasSubstr("cannot speak for \"edge-b/0\""));
}

TEST(link_rules, keep_a_node_elsewhere_from_deciding_for_all_sites) {
  const speaker own{"edge-a", "kitchen"}, elsewhere{"edge-c", "yard", true};
  const auto registers = [](const std::string& node, bool at_start) {
    return msg<schema::Register>::build([&](schema::Register::Builder to) {
      to.setNode(node);
      to.setAdapter("assistant");
      to.setAtStart(at_start);
    });
  };
  EXPECT_TRUE(check(own, *registers("edge-a", false).read()));
  EXPECT_TRUE(check(elsewhere, *registers("edge-c", true).read()));
  const auto loads = check(elsewhere, *registers("edge-c", false).read());
  ASSERT_FALSE(loads);
  EXPECT_THAT(loads.failure().message, HasSubstr("load it at the head"));
  EXPECT_TRUE(check_retire(own));
  ASSERT_FALSE(check_retire(elsewhere));
  EXPECT_THAT(check_retire(elsewhere).failure().message, HasSubstr("unload it at the head"));
}

TEST(link_rules, give_a_node_as_many_voices_as_the_manifest_gives_it_replicas) {
  const speaker by{"edge-a", "kitchen", true, 2};
  const auto speaks = [&](const char* replica) {
    return msg<schema::ShadowState>::build([&](schema::ShadowState::Builder to) {
      to.setReplica(replica);
      to.setSite("kitchen");
    });
  };
  EXPECT_TRUE(check(by, *speaks("edge-a/0").read()));
  EXPECT_TRUE(check(by, *speaks("edge-a/1").read()));
  for (const auto* other : {"edge-a/2", "edge-a/00", "edge-a/01", "edge-a/", "edge-a/1/1",
                            "edge-a/-1", "edge-a/4294967296", "edge-a"}) {
    const auto refused = check(by, *speaks(other).read());
    ASSERT_FALSE(refused) << other;
    EXPECT_THAT(refused.failure().message, HasSubstr("\"edge-a/0\" to \"edge-a/1\""));
  }
}

TEST(link_rules, compare_names_with_all_their_bytes) {
  const speaker by{"edge-c", "yard", true, 1, {"gardener"}};
  const auto with_tail = [](std::string name) { return name + std::string("\0and more", 9); };
  const auto text = [](const std::string& s) { return capnp::Text::Reader(s.c_str(), s.size()); };
  const auto node = with_tail("edge-c"), site = with_tail("yard"), owner = with_tail("gardener");
  EXPECT_FALSE(check(by, *msg<schema::Snapshot>::build([&](schema::Snapshot::Builder to) {
                            to.setNode(text(node));
                          }).read()));
  EXPECT_FALSE(check(by, *msg<schema::Snapshot>::build([&](schema::Snapshot::Builder to) {
                            to.setNode("edge-c");
                            to.setSite(text(site));
                          }).read()));
  EXPECT_FALSE(check(by, *msg<schema::Register>::build([&](schema::Register::Builder to) {
                            to.setNode(text(node));
                            to.setAtStart(true);
                          }).read()));
  EXPECT_FALSE(check(by, *msg<schema::JobRequest>::build([&](schema::JobRequest::Builder to) {
                            to.setSite("yard");
                            to.setOwner(text(owner));
                          }).read()));
}

TEST(link_rules, bound_every_list_and_text_of_a_snapshot) {
  const speaker by{"edge-a", "kitchen"};
  const auto refusal = [&](auto&& fill) -> std::string {
    const auto said = msg<schema::Snapshot>::build([&](schema::Snapshot::Builder to) {
      to.setNode("edge-a");
      fill(to);
    });
    const auto checked = check(by, *said.read());
    return checked ? "" : checked.failure().message;
  };
  const std::string fits(256, 'x'), long_text(257, 'x');
  EXPECT_EQ(refusal([&](auto to) {
              to.setHttpAddress(fits.c_str());
              to.setKernelPath(fits.c_str());
              to.initActors(1024)[1023].setName(fits.c_str());
              to.initReplicas(1024);
              to.initVersions(1024)[0].setDigest(fits.c_str());
              to.initLedger(1024);
              to.initTraffic(1024)[5].setAdapter(fits.c_str());
            }),
            "");
  EXPECT_THAT(refusal([&](auto to) { to.setHttpAddress(long_text.c_str()); }),
              HasSubstr("httpAddress has 257 bytes"));
  EXPECT_THAT(refusal([&](auto to) { to.setKernelPath(long_text.c_str()); }),
              HasSubstr("kernelPath has"));
  EXPECT_THAT(refusal([](auto to) { to.initActors(1025); }),
              HasSubstr("actors has 1025 entries; at most 1024"));
  EXPECT_THAT(refusal([&](auto to) { to.initActors(2)[1].setId(long_text.c_str()); }),
              HasSubstr("actors.id has"));
  EXPECT_THAT(refusal([](auto to) { to.initReplicas(1025); }), HasSubstr("replicas has"));
  EXPECT_THAT(refusal([&](auto to) { to.initReplicas(1)[0].setName(long_text.c_str()); }),
              HasSubstr("replicas.name has"));
  EXPECT_THAT(refusal([](auto to) { to.initVersions(1025); }), HasSubstr("versions has"));
  EXPECT_THAT(refusal([&](auto to) { to.initVersions(1)[0].setAdapter(long_text.c_str()); }),
              HasSubstr("versions.adapter has"));
  EXPECT_THAT(refusal([](auto to) { to.initLedger(1025); }), HasSubstr("ledger has"));
  EXPECT_THAT(refusal([&](auto to) { to.initLedger(1)[0].setName(long_text.c_str()); }),
              HasSubstr("ledger.name has"));
  EXPECT_THAT(refusal([](auto to) { to.initTraffic(1025); }), HasSubstr("traffic has"));
  EXPECT_THAT(refusal([&](auto to) { to.initTraffic(1)[0].setAdapter(long_text.c_str()); }),
              HasSubstr("traffic.adapter has"));
  EXPECT_THAT(refusal([&](auto to) { to.initTraffic(1)[0].setSite(long_text.c_str()); }),
              HasSubstr("traffic.site has"));
}

TEST_F(link_hostile, is_slowed_down_when_it_beats_too_fast) {
  raw_peer peer;
  auto session = join(peer);
  std::uint32_t taken = 0;
  std::string refused;
  for (int i = 0; i < 1000; ++i) {
    auto beat = session.beatRequest();
    beat.initSnapshot().setNode("edge-a");
    const auto said = peer.failure(beat.send().ignoreResult());
    said.empty() ? void(++taken) : void(refused = said);
  }
  EXPECT_THAT(refused, HasSubstr("rate_limited: node edge-a calls its head too often"));
  EXPECT_GE(taken, 256u);
  EXPECT_TRUE(board_->wait([&](const board& b) {
    return b.beats.contains("edge-a") && b.beats.at("edge-a") == taken;
  })) << "nothing that was refused reached an actor";
}

TEST_F(link_hostile, floods_nobody_with_events) {
  raw_peer peer;
  auto session = join(peer);
  std::size_t taken = 0;
  for (int i = 0; i < 600; ++i) {
    auto call = session.eventRequest();
    call.initEvent().setMessage("noise");
    taken += peer.failure(call.send().ignoreResult()).empty() ? 1 : 0;
  }
  EXPECT_GE(taken, 128u);
  EXPECT_LT(taken, 600u);
  EXPECT_TRUE(board_->wait([&](const board& b) { return b.events.size() == taken; }));
}

TEST_F(link_hostile, loses_its_link_when_it_reads_no_answers_and_fills_no_memory_with_them) {
  raw_peer peer;
  join_raw(peer);
  constexpr std::uint32_t calls = 400;  // a chunk of 1 MiB each
  for (std::uint32_t i = 0; i < calls; ++i) {
    capnp::MallocMessageBuilder message;
    auto call = message.initRoot<capnp::rpc::Message>().initCall();
    call.setQuestionId(i + 2);
    auto target = call.initTarget().initPromisedAnswer();
    target.setQuestionId(1);
    target.initTransform(1)[0].setGetPointerField(0);
    call.setInterfaceId(capnp::typeId<schema::Session>());
    call.setMethodId(8);
    auto wanted = call.initParams().getContent().initAs<schema::Session::FactorsParams>();
    wanted.initWanted().setAdapter("assistant");
    wanted.getWanted().setCount(1u << 20);
    peer.failure(capnp::writeMessage(peer.stream(), message));  // it may be closed meanwhile
    const auto answered = [&](const board& b) { return b.chunks_asked > i || !b.leaves.empty(); };
    ASSERT_TRUE(board_->wait(answered)) << "of call " << i;
    if (board_->look([](const board& b) { return !b.leaves.empty(); })) break;
  }
  ASSERT_TRUE(left());
  EXPECT_THAT(board_->look([](const board& b) { return b.leaves[0].reason; }),
              HasSubstr("it has not read what it was told for 2000 ms"));
  EXPECT_LT(board_->look([](const board& b) { return b.chunks_asked; }), 128u)
      << "4 MiB, and what the system holds of a socket";
}

TEST_F(link_hostile, is_slowed_down_when_it_asks_about_training_too_fast) {
  raw_peer peer;
  auto session = join(peer);
  std::uint32_t refused = 0;
  std::vector<kj::Promise<void>> open;
  for (int i = 0; i < 3000; ++i) {
    auto call = session.shadowRequest();
    call.initState().setReplica("edge-b/0");  // each refused, and each a call
    open.push_back(call.send().then([&](auto&& answer) {
      const std::string_view why = answer.getResult().getFailure().getMessage().cStr();
      refused += why.find("about training too often") != why.npos ? 1 : 0;
    }));
  }
  for (auto& one : open) EXPECT_EQ(peer.failure(kj::mv(one)), "");
  EXPECT_GT(refused, 0u);
  EXPECT_LE(refused, 3000u - 512u);
}

TEST_F(link_hostile, fills_neither_the_events_nor_the_refusals_with_its_words) {
  raw_peer peer;
  auto session = join(peer);
  const std::string words(1u << 20, 'w');
  auto call = session.eventRequest();
  call.initEvent().setKind(words.c_str());
  EXPECT_EQ(peer.failure(call.send().ignoreResult()), "");
  auto more = session.eventRequest();
  more.initEvent().setMessage(words.c_str());
  EXPECT_EQ(peer.failure(more.send().ignoreResult()), "");
  ASSERT_TRUE(board_->wait([](const board& b) { return b.events.size() == 2; }));
  EXPECT_EQ(board_->look([](const board& b) { return b.kinds[0].size(); }), 64u);
  EXPECT_EQ(board_->look([](const board& b) { return b.events[1].size(); }), 8u + 4096u);
  raw_peer other(peer);
  connect(other);
  other.speak();
  auto again = other.peer<schema::Head>().joinRequest();
  again.setHello(*make_hello("edge-a").read());
  again.getHello().setSite(std::string(100u << 10, 's').c_str());
  const auto told = other.failure(again.send().ignoreResult());
  EXPECT_THAT(told, HasSubstr("site of node edge-a is"));
  EXPECT_LT(told.size(), 1000u);
}

TEST_F(link_hostile, loses_its_link_when_it_leaves_more_calls_open_than_any_node_needs) {
  raw_peer peer;
  join_raw(peer);
  // Bootstraps that it never finishes, a few thousand a write; the head reads them in its pace.
  std::string failed;
  std::uint32_t question = 2;
  for (int batch = 0; batch < 40 && failed.empty(); ++batch) {
    kj::VectorOutputStream bytes;
    for (int i = 0; i < 4096; ++i) {
      capnp::MallocMessageBuilder message;
      message.initRoot<capnp::rpc::Message>().initBootstrap().setQuestionId(question++);
      capnp::writeMessage(bytes, message);
    }
    const auto all = bytes.getArray();
    failed = write(peer, {reinterpret_cast<const char*>(all.begin()), all.size()});
  }
  EXPECT_TRUE(left());
  EXPECT_TRUE(peer.closed());
  EXPECT_GT(question, 65'792u);
}

TEST_F(link_hostile, loses_its_link_by_garbage_on_it) {
  std::uint32_t state = 99;
  std::string garbage(4096, '\0');
  for (auto& c : garbage) c = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
  raw_peer peer;
  join_raw(peer);
  write(peer, garbage);
  EXPECT_TRUE(left());
  EXPECT_TRUE(peer.closed());
}

TEST_F(link_hostile, loses_its_link_by_a_declared_segment_of_four_gib) {
  raw_peer peer;
  join_raw(peer);
  write(peer, std::string_view("\0\0\0\0\xff\xff\xff\x1f", 8));
  EXPECT_TRUE(left());
  EXPECT_TRUE(peer.closed());
}

TEST_F(link_hostile, loses_its_link_by_a_message_beyond_the_bound) {
  raw_peer peer;
  join_raw(peer);
  capnp::MallocMessageBuilder message;
  auto call = message.initRoot<capnp::rpc::Message>().initCall();
  call.setQuestionId(2);
  call.initTarget().initPromisedAnswer().setQuestionId(1);
  call.initParams().getContent().initAs<capnp::Data>(2u << 20);
  peer.failure(capnp::writeMessage(peer.stream(), message));  // it may end before all is written
  EXPECT_TRUE(left());
  EXPECT_TRUE(peer.closed());
}

TEST_F(link_hostile, has_not_joined_with_a_hello_that_is_malformed) {
  raw_peer peer;
  connect(peer);
  send(peer, [](capnp::rpc::Message::Builder to) { to.initBootstrap().setQuestionId(0); });
  send_cut(peer, [](capnp::rpc::Message::Builder to) {
    fill_join(to, 1).setHttpAddress(text_of_some_words);
  });
  send(peer, [](capnp::rpc::Message::Builder to) { fill_join(to, 2); });
  board_->join(1);
  peer.drop();
  EXPECT_TRUE(left());
  EXPECT_EQ(board_->look([](const board& b) { return b.leaves.size(); }), 1u);
}

TEST_F(link_hostile, has_no_name_that_goes_on_behind_a_nul) {
  const auto refusal = [&](auto&& fill) {
    raw_peer peer;
    connect(peer);
    peer.speak();
    auto call = peer.peer<schema::Head>().joinRequest();
    call.setHello(*make_hello("edge-a").read());
    fill(call.getHello());
    return peer.failure(call.send().ignoreResult());
  };
  EXPECT_THAT(refusal([](auto to) { to.setName(capnp::Text::Reader("edge-a\0x", 8)); }),
              HasSubstr("cannot join as node"));
  EXPECT_THAT(refusal([](auto to) { to.setSite(capnp::Text::Reader("kitchen\0x", 9)); }),
              HasSubstr("site of node edge-a is"));
  EXPECT_THAT(refusal([](auto to) { to.setBaseDigest(capnp::Text::Reader("base-1\0x", 8)); }),
              HasSubstr("base of node edge-a is"));
}

TEST_F(link_hostile, ends_a_request_with_an_answer_that_is_malformed) {
  raw_peer peer;
  join_raw(peer);
  auto told = std::make_shared<answer>();
  caf::anon_send(board_->join(1).router, make_request(5, 3), spawn_sink(system_, told));
  const auto question = asked(peer);
  send_cut(peer, [&](capnp::rpc::Message::Builder to) {
    auto back = to.initReturn();
    back.setAnswerId(question);
    auto results = back.initResults().getContent().initAs<schema::Node::GenerateResults>();
    results.initResult().initFinish().setMessage(text_of_some_words);
  });
  ASSERT_TRUE(told->wait_end());
  EXPECT_EQ(told->reject_code, "internal");
}

TEST_F(link_hostile, keeps_nobody_waiting_with_a_list_that_is_malformed) {
  EXPECT_EQ(told_of([this](raw_peer& peer, std::uint32_t question) {
              send_cut(peer, [&](capnp::rpc::Message::Builder to) {
                fill_list(to, question).initVersions(1)[0].setAdapter(text_of_some_words);
              });
            }),
            0u);
}

// Copied as it is, it would end the actor that reads it: the head's supervisor.
TEST_F(link_hostile, keeps_nobody_waiting_with_a_struct_where_a_list_belongs) {
  EXPECT_EQ(told_of([this](raw_peer& peer, std::uint32_t question) {
              send(peer, [&](capnp::rpc::Message::Builder to) {
                capnp::toAny(fill_list(to, question))
                    .getPointerSection()[0]
                    .initAs<schema::VersionRecord>();
              });
            }),
            0u);
}

TEST_F(link_hostile, lists_no_more_versions_than_a_head_looks_through) {
  EXPECT_EQ(told_of([this](raw_peer& peer, std::uint32_t question) {
              send(peer, [&](capnp::rpc::Message::Builder to) {
                fill_list(to, question).initVersions(1025);
              });
            }),
            0u);
}

/// Beats, and answers nothing.
class mute final : public schema::Node::Server {
  kj::Promise<void> versions(VersionsContext) override { return kj::NEVER_DONE; }
};

TEST_F(link_hostile, loses_its_link_when_it_answers_nothing) {
  raw_peer peer;
  join(peer, schema::Node::Client(kj::heap<mute>()));
  const auto there = board_->join(1);
  caf::scoped_actor self{system_};
  for (int i = 0; i < 300; ++i) self->send(there.router, actors::list_atom::value);
  EXPECT_TRUE(peer.closed());
  EXPECT_TRUE(left());
  EXPECT_THAT(board_->look([](const board& b) { return b.leaves[0].reason; }),
              HasSubstr("left 256 calls unanswered"));
}

/// Answers a request with more than it asked for: with this text without end.
class chatterbox final : public schema::Node::Server {
 public:
  chatterbox(std::uint32_t& sent, std::string& refused, std::string text)
      : sent_(sent), refused_(refused), text_(std::move(text)) {}
  kj::Promise<void> generate(GenerateContext context) override {
    const auto id = context.getParams().getRequest().getId();
    auto accept = context.getParams().getSink().acceptedRequest();
    accept.initAccepted().setRequest(id);
    sink_ = context.getParams().getSink();
    return accept.send().ignoreResult().then([this, id] { return talk(id); });
  }

 private:
  kj::Promise<void> talk(request_id id) {
    auto call = KJ_ASSERT_NONNULL(sink_).putRequest();
    auto chunk = call.initChunk();
    chunk.setRequest(id);
    chunk.setText(text_.c_str());
    return call.send().ignoreResult().then(
        [this, id]() -> kj::Promise<void> {
          if (++sent_ == 10000) return kj::READY_NOW;
          return talk(id);
        },
        [this](kj::Exception&& e) { refused_ = e.getDescription().cStr(); });
  }
  std::uint32_t& sent_;
  std::string& refused_;
  const std::string text_;
  kj::Maybe<schema::TokenSink::Client> sink_;
};

std::uint32_t link_hostile::sent_until_ended(const std::string& text) {
  raw_peer peer;
  std::uint32_t sent = 0;
  std::string refused;
  join(peer, schema::Node::Client(kj::heap<chatterbox>(sent, refused, text)));
  const auto there = board_->join(1);
  auto told = std::make_shared<answer>();
  caf::anon_send(there.router, make_request(5, 3), spawn_sink(system_, told));
  for (int i = 0; i < 4000 && refused.empty(); ++i)
    peer.wait(peer.timer().afterDelay(5 * kj::MILLISECONDS));
  EXPECT_THAT(refused, HasSubstr("got more than it asked for"));
  EXPECT_TRUE(told->wait_end());
  EXPECT_EQ(told->finish, schema::FinishReason::ERROR);
  return sent;
}

TEST_F(link_hostile, ends_a_request_that_it_answers_without_end) {
  const auto sent = sent_until_ended("la ");
  EXPECT_GT(sent, 2000u) << "it gets what it asked for";
  EXPECT_LT(sent, 2100u);
}

TEST_F(link_hostile, ends_a_request_whose_answer_would_fill_the_heads_memory) {
  EXPECT_LT(sent_until_ended(std::string(60'000, 'a')), 40u) << "a KiB a token";
}

}  // namespace
}  // namespace collm::link::testing
