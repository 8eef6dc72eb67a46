// The supervisor on virtual time: a killed or frozen node process is noticed, replaced with
// back-off, and the status tells the truth.
#include "tests/support/supervision_rig.hpp"

namespace collm {
namespace {

using namespace actors;
using namespace std::chrono_literals;
using testing_support::supervision;

TEST_F(supervision, starts_its_nodes_and_serves_once_they_joined) {
  EXPECT_EQ(pid_, 1001);
  EXPECT_EQ(state(), schema::NodeState::STARTING);
  join();
  EXPECT_EQ(state(), schema::NodeState::SERVING);
  EXPECT_EQ(serving_, 1u);
}

// Who sees it serving may restart the next node, and the head must not be without one then.
TEST_F(supervision, a_node_is_shown_as_serving_when_it_is_counted_and_not_before) {
  join_without_a_report(rig_.node);
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(serving_ > 0, state() == schema::NodeState::SERVING) << i;
    system_.pass(100ms);
  }
  EXPECT_EQ(state(), schema::NodeState::STARTING) << "nobody has seen an engine of it";
  beat(0);
  system_.pass(2s);
  EXPECT_EQ(state(), schema::NodeState::STARTING) << "its engine has not begun";
  EXPECT_EQ(serving_, 0u);
  EXPECT_FALSE(routed_);
  beat();
  EXPECT_EQ(state(), schema::NodeState::SERVING) << "and no slot later";
  EXPECT_EQ(serving_, 1u);
  for (int restart = 0; restart < 2; ++restart) {
    exit_of(pid_, 9);
    system_.pass(2s);
    join_without_a_report(rig_.node);
    EXPECT_EQ(state(), schema::NodeState::STARTING) << "the report is of the process before";
    EXPECT_EQ(serving_, 0u);
    beat();
    EXPECT_EQ(state(), schema::NodeState::SERVING);
    EXPECT_EQ(serving_, 1u);
  }
}

TEST_F(supervision, a_node_gets_requests_once_it_serves_what_the_registry_says) {
  register_serving("assistant", "first");  // what the rig serves
  register_serving("spare", "spare");
  system_.pass(300ms);
  join();
  beat();
  EXPECT_EQ(state(), schema::NodeState::STARTING);
  EXPECT_EQ(missing(), std::vector<std::string>{"spare@0"});
  rig_.load("/adapters/spare", "spare");
  rig_.system.pass(100ms);
  system_.pass(400ms);
  EXPECT_EQ(state(), schema::NodeState::SERVING);
  EXPECT_TRUE(missing().empty());
}

TEST_F(supervision, a_node_that_cannot_serve_a_version_serves_the_others_and_the_status_says_so) {
  register_serving("assistant", "first");
  register_serving("spare", "spare");
  system_.pass(300ms);
  join();
  for (int i = 0; i < 12; ++i) {
    beat();
    system_.pass(1s);
  }
  EXPECT_EQ(state(), schema::NodeState::SERVING);
  EXPECT_EQ(missing(), std::vector<std::string>{"spare@0"});
}

TEST_F(supervision, an_unload_retires_the_row_and_needs_no_node) {
  register_serving("assistant", "first");
  const auto ask = [&](const char* name) {
    return system_.ask<reply<msg<schema::VersionRecord>>>(supervisor_, unload_atom::value,
                                                          std::string(name));
  };
  const auto unknown = ask("assistent");
  ASSERT_FALSE(*unknown);
  EXPECT_NE(unknown->failure().message.find("serving: assistant"), std::string::npos);
  const auto gone = ask("assistant");
  ASSERT_TRUE(*gone) << gone->failure().message;
  EXPECT_EQ((*versions_->find({"assistant", 0}))->state, store::version_state::retired);
}

TEST_F(supervision, an_unload_takes_no_newer_version_from_a_node) {
  register_serving("assistant", "first");
  system_.pass(300ms);
  join();
  rig_.load("/adapters/second");  // assistant@1, which this registry has not heard of
  rig_.system.pass(100ms);
  caf::scoped_actor self(system_.get());
  auto asked =
      self->request(supervisor_, caf::infinite, unload_atom::value, std::string("assistant"));
  system_.settle();
  rig_.system.settle();
  system_.settle();
  asked.receive([](const reply<msg<schema::VersionRecord>>& r) { EXPECT_TRUE(*r); },
                [](const caf::error&) { FAIL(); });
  EXPECT_EQ(rig_.executor->resident(), (std::vector<version_id>{{"assistant", 1}}));
}

TEST_F(supervision, a_head_that_was_stopped_takes_nobodys_silence_for_a_loss) {
  join();
  beat();
  system_.pass(1s);
  system_.compute(600s);
  system_.pass(1s);
  EXPECT_EQ(state(), schema::NodeState::SERVING) << "it could not be heard";
  caf::anon_send(supervisor_, leave_atom::value, std::string("edge-a"), incarnation_,
                 std::string("the connection is of before"));
  system_.pass(20s);
  EXPECT_TRUE(killed_.empty()) << "it serves its site, and tries to join";
  join();
  beat();
  EXPECT_EQ(state(), schema::NodeState::SERVING);
  for (int i = 0; i < 60; ++i) {
    beat();
    system_.pass(1s);
  }
  EXPECT_TRUE(killed_.empty());
  EXPECT_EQ(pid_, 1001) << "no second process";
  system_.pass(10s);  // silent now that it could be heard
  ASSERT_FALSE(killed_.empty());
  EXPECT_EQ(killed_.front(), 1001);
}

TEST_F(supervision, a_node_that_does_not_join_again_after_the_head_was_stopped_is_replaced) {
  join();
  beat();
  system_.pass(1s);
  system_.compute(600s);
  system_.pass(59s);
  EXPECT_TRUE(killed_.empty());
  system_.pass(10s);
  ASSERT_FALSE(killed_.empty());
  EXPECT_EQ(killed_.front(), 1001);
}

class supervision_without_registry : public supervision {
 protected:
  supervision_without_registry() { versions_->lists = false; }
};

TEST_F(supervision_without_registry, lets_a_node_serve_after_a_while) {
  join();
  EXPECT_EQ(state(), schema::NodeState::STARTING);
  for (int i = 0; i < 12; ++i) {
    beat();
    system_.pass(1s);
  }
  EXPECT_EQ(state(), schema::NodeState::SERVING);
}

TEST_F(supervision, a_killed_process_is_started_again_with_growing_waits) {
  double waited[3];
  for (double& w : waited) {
    join();
    const auto incarnation = incarnation_;
    exit_of(pid_, 9);
    EXPECT_EQ(state(), schema::NodeState::RESTARTING);
    EXPECT_EQ(reason(), "was killed by signal 9, as by hand or by the kernel where memory ends");
    w = 0;
    const auto before = pid_;
    while (pid_ == before && w < 20000) {
      system_.pass(100ms);
      w += 100;
    }
    EXPECT_GT(incarnation_, incarnation);
  }
  EXPECT_LE(waited[0], 800);
  EXPECT_GT(waited[1], waited[0]);
  EXPECT_GT(waited[2], waited[1]);
}

TEST_F(supervision, nobody_is_left_waiting_at_a_node_that_does_not_come_again_soon) {
  join();
  exit_of(pid_, 9);
  EXPECT_FALSE(away_) << "its successor is started in half a second";
  for (int i = 0; i < 3; ++i) {  // waits of 1, 2 and 4 s
    EXPECT_FALSE(away_);
    system_.pass(5s);
    exit_of(pid_, 9);
  }
  EXPECT_TRUE(away_);
  system_.pass(5s);
  launch_fails_ = true;
  exit_of(pid_, 9);
  away_ = false;
  system_.pass(11s);
  EXPECT_TRUE(away_) << "no process can be started";
}

TEST_F(supervision, a_frozen_process_is_lost_then_killed_then_replaced) {
  join();
  beat();
  system_.pass(3200ms);
  EXPECT_EQ(state(), schema::NodeState::LOST);
  EXPECT_NE(reason().find("no beat"), std::string::npos);
  EXPECT_TRUE(killed_.empty());
  system_.pass(3500ms);
  ASSERT_EQ(killed_, std::vector<std::int32_t>{1001});
  exit_of(1001, 9);
  EXPECT_EQ(reason(), "was killed by this head, as it stayed silent");
  system_.pass(1s);
  EXPECT_EQ(pid_, 1002);
  join();
  system_.pass(6700ms);
  ASSERT_EQ(killed_.back(), 1002);
  exit_of(1002, 11);
  EXPECT_EQ(reason(), "was killed by signal 11") << "it crashed before it could be killed";
}

class supervision_of_a_trainer : public supervision {
 protected:
  supervision_of_a_trainer() { planned_.answers = false; }
};

// /ready of the head follows admission.
TEST_F(supervision_of_a_trainer, counts_it_as_started_and_not_as_one_that_answers) {
  join();
  EXPECT_EQ(state(), schema::NodeState::SERVING);
  EXPECT_EQ(own_, 1u);
  EXPECT_EQ(serving_, 0u);
  EXPECT_FALSE(routed_);
}

class supervision_elsewhere : public supervision {
 protected:
  supervision_elsewhere() {
    planned_ = {"edge-a", "kitchen", false, true, true};
    incarnation_ = 7;
  }
  void leave(const char* why) {
    caf::anon_send(supervisor_, leave_atom::value, std::string("edge-a"), incarnation_,
                   std::string(why));
    system_.settle();
  }
};

TEST_F(supervision_elsewhere, starts_kills_and_replaces_nothing) {
  EXPECT_EQ(state(), schema::NodeState::LOST);
  EXPECT_EQ(reason(), "has not joined since this head started");
  join();
  EXPECT_EQ(state(), schema::NodeState::SERVING);
  beat();
  system_.pass(20s);  // its link would say that it is gone
  EXPECT_EQ(state(), schema::NodeState::SERVING);
  leave("the connection was lost");
  EXPECT_EQ(state(), schema::NodeState::LOST);
  system_.pass(60s);
  EXPECT_TRUE(killed_.empty());
  EXPECT_EQ(pid_, 1000) << "no process was started";
  ++incarnation_;
  join();
  EXPECT_EQ(state(), schema::NodeState::SERVING);
}

TEST_F(supervision_elsewhere, a_node_that_leaves_in_its_drain_has_stopped) {
  join();
  caf::anon_send(supervisor_, drain_atom::value, std::string("edge-a"), false, drain_deadline_ms);
  system_.settle();
  EXPECT_EQ(state(), schema::NodeState::DRAINING);
  leave("the connection was lost");
  EXPECT_EQ(state(), schema::NodeState::STOPPED);
  EXPECT_EQ(reason(), "left after its drain");
}

// Its service manager ended it: nobody asked the head.
TEST_F(supervision_elsewhere, a_node_that_drains_by_itself_is_sent_nothing_even_after_a_blip) {
  join();
  EXPECT_TRUE(routed_);
  beat(1, true);
  EXPECT_EQ(state(), schema::NodeState::DRAINING);
  EXPECT_FALSE(routed_);
  EXPECT_EQ(serving_, 0u);
  leave("the connection was lost");
  join_without_a_report(rig_.node);  // the same process: what it has said of itself stands
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(state(), schema::NodeState::DRAINING) << i;
    EXPECT_FALSE(routed_) << i;
    system_.pass(100ms);
  }
  leave("the connection was lost");
  EXPECT_EQ(state(), schema::NodeState::STOPPED);
  ++incarnation_;
  join();
  EXPECT_EQ(state(), schema::NodeState::SERVING) << "another process drains not";
  EXPECT_TRUE(routed_);
}

TEST_F(supervision_elsewhere, loads_no_adapter_from_a_folder_of_this_machine) {
  join();
  beat();
  const auto loaded = system_.ask<reply<msg<schema::VersionRecord>>>(
      supervisor_, load_atom::value, std::string("spare"), std::string("/adapters/spare"));
  ASSERT_FALSE(*loaded);
  EXPECT_EQ(loaded->failure().code, errc::unavailable);
}

TEST_F(supervision_elsewhere,
       a_node_that_joined_anew_may_be_numbered_lower_than_who_stole_its_name) {
  incarnation_ = 1ull << 60;
  join();
  leave("its certificate was revoked");
  incarnation_ = 7;
  join_without_a_report(rig_.node);
  EXPECT_EQ(state(), schema::NodeState::STARTING) << "the report is the other's";
  beat();
  EXPECT_EQ(state(), schema::NodeState::SERVING);
  leave("the connection was lost");
  EXPECT_EQ(state(), schema::NodeState::LOST);
}

class supervision_addresses : public supervision {
 protected:
  /// As the status shows it, of a node that says "thief:1".
  std::string shown(const planned_node& plan) {
    supervisor_state s;
    s.nodes[plan.name].plan = plan;
    s.nodes[plan.name].snapshot = msg<schema::Snapshot>::build(
        [](schema::Snapshot::Builder b) { b.setHttpAddress("thief:1"); });
    const auto head = msg<schema::Snapshot>::build([](schema::Snapshot::Builder) {});
    const auto status = cluster_status(s, supervisor_deps{}, 0, head);
    return status.read()->getNodes()[0].getSnapshot().getHttpAddress().cStr();
  }
};

TEST_F(supervision_addresses, of_gateways_come_from_the_plan_for_keys_are_sent_there) {
  planned_node here{"edge-a", "kitchen"}, elsewhere{"edge-c", "yard", false, true, true};
  EXPECT_EQ(shown(here), "thief:1") << "any free port: its process knows, and is of this machine";
  EXPECT_EQ(shown(elsewhere), "");
  here.http_address = elsewhere.http_address = "10.0.0.7:8443";
  EXPECT_EQ(shown(here), "10.0.0.7:8443");
  EXPECT_EQ(shown(elsewhere), "10.0.0.7:8443");
}

TEST_F(supervision, a_lost_connection_is_told_at_once) {
  join();
  caf::anon_send(supervisor_, leave_atom::value, std::string("edge-a"), incarnation_,
                 std::string("connection reset"));
  system_.settle();
  EXPECT_EQ(state(), schema::NodeState::LOST);
  EXPECT_EQ(reason(), "connection reset");
  join();  // the same process came back by itself
  EXPECT_EQ(state(), schema::NodeState::SERVING);
}

TEST_F(supervision, an_older_incarnation_does_not_replace_a_newer_one) {
  join();
  ++incarnation_;
  join();
  --incarnation_;
  caf::anon_send(supervisor_, leave_atom::value, std::string("edge-a"), incarnation_,
                 std::string("late news"));
  system_.settle();
  EXPECT_EQ(state(), schema::NodeState::SERVING);
}

TEST_F(supervision, a_binary_that_cannot_start_is_named_and_tried_again) {
  join();
  launch_fails_ = true;
  exit_of(pid_, 9);
  system_.pass(1s);
  EXPECT_EQ(state(), schema::NodeState::RESTARTING);
  EXPECT_EQ(reason(), "no such binary");
  launch_fails_ = false;
  system_.pass(5s);
  EXPECT_EQ(state(), schema::NodeState::STARTING);
}

TEST_F(supervision, nothing_is_started_again_while_the_cluster_stops) {
  join();
  caf::anon_send(supervisor_, drain_atom::value);
  exit_of(pid_, 0);
  system_.pass(20s);
  EXPECT_EQ(state(), schema::NodeState::STOPPED);
  EXPECT_EQ(pid_, 1001);
}

TEST_F(supervision, a_node_that_waits_for_its_restart_is_not_started_while_the_cluster_stops) {
  join();
  exit_of(pid_, SIGKILL);
  caf::anon_send(supervisor_, drain_atom::value);
  system_.pass(20s);
  EXPECT_EQ(pid_, 1001);
}

}  // namespace
}  // namespace collm
