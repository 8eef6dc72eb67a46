// Rounds on virtual time: the head's production actors over real stores, modelled shadows.
#include <gtest/gtest.h>

#include "tests/support/learning_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using schema::RoundState;
using schema::VersionState;
using testing_support::learning_options;
using testing_support::learning_rig;

class learning : public store::store_folder {};

TEST_F(learning, a_round_goes_from_opening_to_promotion) {
  learning_rig rig(folder_);
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  const auto r = rig.round(1);
  EXPECT_EQ(r.read()->getVersion(), 1u);
  EXPECT_EQ(r.read()->getParent(), 0u);
  ASSERT_EQ(r.read()->getParticipants().size(), 3u);
  for (const auto p : r.read()->getParticipants()) {
    EXPECT_EQ(p.getState(), schema::ParticipantState::ACCEPTED);
    EXPECT_EQ(p.getTokens(), 100);
    EXPECT_EQ(p.getSteps(), 6u);
  }
  EXPECT_EQ(rig.versions()[1], VersionState::SERVING);
  EXPECT_EQ(rig.versions()[0], VersionState::DRAINING);
  for (const auto& s : rig.shadows) EXPECT_TRUE(s->errors.empty()) << s->errors.front();
  EXPECT_EQ(rig.events("version_candidate").size(), 1u);
  EXPECT_EQ(rig.events("version_promoted").size(), 1u);
}

TEST_F(learning, a_worse_candidate_is_rejected_and_the_next_round_starts_anew) {
  learning_rig rig(folder_);
  rig.three_sites();
  for (auto& s : rig.shadows) s->difference = [](std::uint32_t i) { return -0.1 - 0.01 * (i % 3); };
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(1, RoundState::REJECTED));
  ASSERT_TRUE(rig.wait_for(2, RoundState::TRAINING));
  EXPECT_EQ(rig.versions()[0], VersionState::SERVING);
  EXPECT_EQ(rig.versions()[1], VersionState::REJECTED);
  EXPECT_EQ(rig.round(2).read()->getParent(), 0u);
  EXPECT_FALSE(rig.shadows[0]->kept_moments);
  EXPECT_EQ(rig.events("version_rejected").size(), 1u);
  EXPECT_NE(std::string(rig.round(1).read()->getReason().cStr()).find("worse"), std::string::npos);
}

TEST_F(learning, an_undecided_candidate_is_where_the_next_round_starts) {
  learning_rig rig(folder_);
  rig.three_sites();
  for (auto& s : rig.shadows)
    s->difference = [](std::uint32_t i) { return 0.003 + 0.01 * (i % 2 ? 1 : -1); };
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(1, RoundState::REJECTED));
  ASSERT_TRUE(rig.wait_for(2, RoundState::TRAINING));
  const auto second = rig.round(2);
  EXPECT_EQ(second.read()->getParent(), 1u);
  EXPECT_EQ(rig.shadows[0]->parent, 1u);
  EXPECT_TRUE(rig.shadows[0]->kept_moments);
  // And what it makes has the first round's factors in it.
  ASSERT_TRUE(rig.wait_for(2, RoundState::REJECTED));
  EXPECT_EQ(rig.round(2).read()->getVersion(), 2u);
  // Three in a row gain nothing: training rests.
  ASSERT_TRUE(rig.wait_for(3, RoundState::REJECTED));
  rig.system.pass(60s);
  EXPECT_EQ(rig.rounds().size(), 3u);
}

TEST_F(learning, without_a_quorum_at_the_deadline_the_round_is_void) {
  learning_rig rig(folder_, {.deadline_ms = 20000});
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(1, RoundState::TRAINING));
  rig.shadows[1]->silent = rig.shadows[2]->silent = true;
  ASSERT_TRUE(rig.wait_for(1, RoundState::VOIDED, 25s));
  const auto r = rig.round(1);
  EXPECT_STREQ(r.read()->getReason().cStr(), "deadline, 1 of quorum 2");
  EXPECT_EQ(rig.versions().size(), 1u);
  EXPECT_EQ(rig.events("round_voided").size(), 1u);
}

TEST_F(learning, p17_a_frozen_node_does_not_hold_the_round_and_its_late_update_is_refused) {
  learning_rig rig(folder_, {.deadline_ms = 20000});
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(1, RoundState::TRAINING));
  auto& frozen = *rig.shadows[2];
  frozen.silent = true;
  const auto opened = rig.system.now();
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING, 40s));
  EXPECT_LT(rig.system.now() - opened, 26s);
  frozen.silent = false;
  rig.system.pass(2s);
  ASSERT_FALSE(frozen.errors.empty());
  EXPECT_NE(frozen.errors.front().find("round 1"), std::string::npos) << frozen.errors.front();
  EXPECT_EQ(frozen.accepted, 0u);
  ASSERT_TRUE(rig.wait_for(2, RoundState::SERVING));
  EXPECT_EQ(frozen.accepted, 1u);
}

TEST_F(learning, a_site_that_loses_much_vetoes_what_the_others_want) {
  learning_rig rig(folder_);
  rig.three_sites();
  rig.shadows[0]->difference = [](std::uint32_t i) { return 0.5 + 0.01 * (i % 3); };
  rig.shadows[1]->difference = rig.shadows[0]->difference;
  rig.shadows[2]->difference = [](std::uint32_t i) { return -0.2 - 0.01 * (i % 3); };
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(1, RoundState::REJECTED));
  const std::string why = rig.round(1).read()->getReason().cStr();
  EXPECT_EQ(why.find("veto of office"), 0u) << why;
  EXPECT_EQ(rig.versions()[0], VersionState::SERVING);
}

TEST_F(learning, a_silent_site_is_given_up_and_named_in_the_verdict) {
  learning_rig rig(folder_);
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(1, RoundState::GATE));
  rig.shadows[1]->silent = true;
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  EXPECT_EQ(rig.events("site_silent").size(), 1u);
  const auto why =
      rig.ask<msg<schema::Explanation>>(actors::explain_atom::value, version_id{"assistant", 1});
  ASSERT_TRUE(*why) << why->failure().message;
  const auto e = (**why).read();
  ASSERT_EQ(e->getSilent().size(), 1u);
  EXPECT_STREQ(e->getSilent()[0].cStr(), "workshop");
  EXPECT_EQ(e->getSites().size(), 2u);
}

TEST_F(learning, a_late_update_counts_once_in_a_later_round_under_fedbuff) {
  federation::strategy how;
  how.aggregate = federation::aggregate_mode::ffa;
  how.fedbuff = true;
  learning_rig rig(folder_, {.how = how});
  rig.three_sites();
  auto& slow = *rig.shadows[2];
  slow.trains = 12s;  // it is told to bring it to an end before it takes the next task
  rig.start_head();
  const auto late = [&] {
    std::vector<std::uint32_t> in;
    for (const auto& r : rig.rounds()) {
      const auto read = r.read();
      for (const auto p : read->getParticipants())
        if (std::string(p.getReason().cStr()) == "late: of round 1")
          in.push_back(read->getNumber());
    }
    return in;
  };
  for (int slot = 0; slot < 120 && slow.accepted == 0; ++slot) rig.system.pass(500ms);
  ASSERT_EQ(slow.accepted, 1u) << (slow.errors.empty() ? "" : slow.errors.back());
  const auto in = late();
  ASSERT_EQ(in.size(), 1u);
  EXPECT_GE(in[0], 2u);
  EXPECT_EQ(rig.round(1).read()->getParticipants().size(), 3u);
  EXPECT_EQ(slow.steps, 6u);
  slow.round = 1;  // it never heard the answer
  slow.phase = schema::ShadowPhase::UPLOADING;
  for (int slot = 0; slot < 60 && slow.accepted == 1; ++slot) rig.system.pass(500ms);
  EXPECT_EQ(slow.accepted, 2u) << "told again that it counts";
  EXPECT_EQ(late(), in);
}

}  // namespace
}  // namespace collm
