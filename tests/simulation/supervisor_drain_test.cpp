// Drains and what follows them: a node that stays away, or is started anew.
#include "tests/support/supervision_rig.hpp"

namespace collm {
namespace {

using namespace actors;
using namespace std::chrono_literals;
using testing_support::supervision;

TEST_F(supervision, a_drain_whose_answer_is_lost_with_its_process_is_told_by_the_exit) {
  join();
  // A link's stand-in for a node whose connection ended before its answer came.
  const auto cut =
      system_.keep(system_.get().spawn([](node_actor::pointer) -> node_actor::behavior_type {
        const auto lost = [] {
          return make_reply<void>(error{errc::unavailable, "the connection was lost"});
        };
        const auto none = [] {
          return make_reply<msg<schema::VersionRecord>>(error{errc::unavailable, "lost"});
        };
        return {[none](load_atom, const std::string&, const std::string&) { return none(); },
                [lost](unload_atom, const version_id&) { return lost(); },
                [lost](drain_atom, std::uint32_t) { return lost(); }, [](slot_atom) {},
                [](status_atom) { return msg<schema::ActorStatus>::build([](auto) {}); }};
      }));
  ++incarnation_;
  join(cut);
  for (const int status : {0, 9}) {
    EXPECT_EQ(drain(false, status), status == 0) << status;
    if (status != 0) break;
    // Once more, killed instead: a new process, as an operator would start the node again.
    ++incarnation_;
    ++pid_;
    join(cut);
  }
}

TEST_F(supervision, a_node_that_is_drained_to_be_started_anew_comes_back_at_once) {
  join();
  for (int round = 0; round < 3; ++round) {
    const auto before = pid_;
    EXPECT_TRUE(drain(true));
    EXPECT_EQ(state(), schema::NodeState::RESTARTING);
    system_.pass(600ms);  // no wait that grows: nothing went wrong
    EXPECT_NE(pid_, before) << round;
    join();
    EXPECT_EQ(state(), schema::NodeState::SERVING);
  }
  exit_of(pid_, 0);
  EXPECT_EQ(state(), schema::NodeState::RESTARTING) << "and the next end is a loss as ever";
}

TEST_F(supervision, a_node_that_was_drained_for_good_can_be_started_anew) {
  join();
  EXPECT_TRUE(drain(false));
  EXPECT_EQ(state(), schema::NodeState::STOPPED);
  EXPECT_FALSE(drain(false)) << "it is drained already";
  const auto before = pid_;
  system_.pass(5s);
  EXPECT_EQ(pid_, before) << "nobody asked for it";
  EXPECT_TRUE(drain(true));
  system_.pass(600ms);
  EXPECT_NE(pid_, before);
  join();
  EXPECT_EQ(state(), schema::NodeState::SERVING);
}

TEST_F(supervision, a_drained_node_is_away_unless_it_is_started_anew) {
  for (const bool again : {true, false}) {
    join();
    drain(again);
    EXPECT_EQ(away_, !again);
    system_.pass(600ms);
  }
}

TEST_F(supervision, a_restart_asked_while_a_drained_process_ends_waits_for_its_exit) {
  join();
  caf::scoped_actor self(system_.get());
  const auto ask = [&](bool again) {
    auto asked = self->request(supervisor_, caf::infinite, drain_atom::value, std::string("edge-a"),
                               again, drain_deadline_ms);
    system_.settle();
    return asked;
  };
  auto first = ask(false);
  caf::anon_send(supervisor_, leave_atom::value, std::string("edge-a"), incarnation_,
                 std::string("the connection was lost"));
  system_.settle();
  ASSERT_EQ(state(), schema::NodeState::DRAINING) << "it has left, and has not ended";
  auto second = ask(true);
  const auto before = pid_;
  system_.pass(2s);
  EXPECT_EQ(pid_, before) << "two processes of one node";
  exit_of(pid_, 0);
  int done = 0;
  for (auto* asked : {&first, &second}) {
    asked->receive([&](const reply<void>& r) { done += static_cast<bool>(*r); },
                   [](const caf::error& e) { FAIL() << caf::to_string(e); });
  }
  EXPECT_EQ(done, 2);
  system_.pass(600ms);
  EXPECT_NE(pid_, before);
  join();
  EXPECT_EQ(state(), schema::NodeState::SERVING);
}

}  // namespace
}  // namespace collm
