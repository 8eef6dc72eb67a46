// The adapter shadow on virtual time: what it trains, what it sends, and what it does when its
// engine, its process or the head goes away.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "store/digest.hpp"
#include "tests/support/shadow_rig.hpp"
#include "tests/support/store_folder.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using testing::DoubleNear;
using testing::ElementsAre;
using testing_support::shadow_rig;

class shadow : public store::store_folder {};

TEST_F(shadow, tells_what_it_has_and_waits) {
  shadow_rig rig(folder_);
  rig.system.pass(2s);
  ASSERT_FALSE(rig.head.states.empty());
  const auto s = rig.head.states.back().read();
  EXPECT_STREQ(s->getReplica().cStr(), "edge-a/0");
  EXPECT_STREQ(s->getSite().cStr(), "kitchen");
  EXPECT_EQ(s->getPhase(), schema::ShadowPhase::IDLE);
  EXPECT_GT(s->getTrainSamples(), 10u);
  EXPECT_GT(s->getGateSamples(), 0u);
  EXPECT_EQ(rig.jobs, 0u);
}

TEST_F(shadow, trains_its_steps_and_uploads_the_change) {
  shadow_rig rig(folder_);
  rig.ask_to_train(3, 5);
  rig.system.pass(2s);
  ASSERT_EQ(rig.head.accepted.size(), 1u);
  const auto h = rig.head.accepted[0].read();
  EXPECT_STREQ(h->getClient().cStr(), "edge-a/0");
  EXPECT_EQ(h->getRound(), 3u);
  EXPECT_EQ(h->getAttempt(), 1u);
  EXPECT_STREQ(h->getParentDigest().cStr(), "parent");
  EXPECT_EQ(h->getValues(), 4u);
  EXPECT_GT(h->getTokens(), 0);
  EXPECT_EQ(std::string(h->getDigest().cStr()), store::digest_of(rig.head.uploaded));
  EXPECT_EQ(rig.trainer->batches, 5u);
  // Batches of 36 tokens hold three samples of 10 or 11.
  EXPECT_THAT(rig.update(), ElementsAre(15, 15, 15, 15));
  rig.system.pass(5s);
  EXPECT_EQ(rig.head.accepted.size(), 1u) << "done is done, though the head still names the task";
  EXPECT_EQ(rig.grants.back(), 0.0) << "nothing to do takes no time";
}

TEST_F(shadow, sends_only_the_factors_that_the_round_trains) {
  shadow_rig rig(folder_);
  rig.ask_to_train(1, 2, schema::TrainedFactors::B_ONLY);
  rig.system.pass(2s);
  ASSERT_EQ(rig.head.accepted.size(), 1u);
  EXPECT_EQ(rig.head.accepted[0].read()->getTrained(), schema::TrainedFactors::B_ONLY);
  EXPECT_THAT(rig.update(), ElementsAre(6, 6));
}

TEST_F(shadow, of_a_rank_of_its_own_says_which_with_its_update) {
  shadow_rig rig(folder_);
  rig.own_rank = true;
  rig.restart();
  rig.ask_to_train(1, 2);
  rig.system.pass(2s);
  ASSERT_EQ(rig.head.accepted.size(), 1u);
  ASSERT_EQ(rig.head.accepted[0].read()->getRanks().size(), 1u) << "one pair";
  EXPECT_EQ(rig.head.accepted[0].read()->getRanks()[0], 1u);
}

/// Other samples in the next round: the cursor goes on, and every epoch has its own order.
TEST_F(shadow, goes_on_in_its_data_from_round_to_round) {
  shadow_rig rig(folder_);
  rig.ask_to_train(1, 4);
  rig.system.pass(1s);
  rig.head.uploaded.clear();
  rig.ask_to_train(2, 20);
  rig.system.pass(3s);
  ASSERT_EQ(rig.head.accepted.size(), 2u);
  EXPECT_EQ(rig.head.accepted[1].read()->getRound(), 2u);
  EXPECT_EQ(rig.trainer->batches, 24u) << "one trainer for both rounds: its moments are kept";
}

TEST_F(shadow, goes_on_with_its_moments_after_a_restart_between_two_rounds) {
  shadow_rig rig(folder_);
  rig.ask_to_train(1, 4);
  rig.system.pass(1s);
  rig.restart();
  rig.ask_to_train(2, 20);
  rig.system.pass(3s);
  ASSERT_EQ(rig.head.accepted.size(), 2u);
  EXPECT_EQ(rig.trainer->batches, 20u);
  EXPECT_EQ(rig.trainer->moments, 24);
}

TEST_F(shadow, a_restart_in_the_middle_makes_the_same_update) {
  std::vector<float> whole;
  {
    shadow_rig rig(folder_ / "whole");
    rig.ask_to_train(1, 40);
    rig.system.pass(3s);
    whole = rig.update();
  }
  shadow_rig rig(folder_ / "cut");
  rig.ask_to_train(1, 40);
  // The engine stops answering after 30 batches: the last checkpoint stands at step 16.
  std::uint32_t left = 32;
  rig.before_job = [&] {
    if (left > 0 && --left == 0)
      caf::anon_send_exit(caf::actor_cast<caf::actor>(rig.shadow), caf::exit_reason::kill);
  };
  rig.system.pass(2s);
  EXPECT_TRUE(rig.head.accepted.empty());
  rig.start();
  rig.system.pass(3s);
  ASSERT_EQ(rig.head.accepted.size(), 1u);
  EXPECT_EQ(rig.update(), whole);
  EXPECT_LT(rig.trainer->batches, 40u) << "it did not begin anew";
}

/// Whichever work comes first, its place in the data and in its task is the one it had.
TEST_F(shadow, asked_for_scores_before_its_task_goes_on_it_makes_the_same_update) {
  std::vector<float> whole;
  {
    shadow_rig rig(folder_ / "whole");
    rig.ask_to_train(1, 40);
    rig.system.pass(3s);
    whole = rig.update();
  }
  const auto scores_then_the_task = [&](shadow_rig& rig) {
    rig.ask_to_evaluate(0, 2, 0);
    rig.system.pass(2s);
    ASSERT_EQ(rig.head.scores.size(), 1u);
    rig.ask_to_train(1, 40);
    rig.system.pass(3s);
    ASSERT_EQ(rig.head.accepted.size(), 1u);
    EXPECT_EQ(rig.update(), whole);
    EXPECT_LT(rig.trainer->batches, 40u) << "it did not begin anew";
  };
  std::uint32_t left = 0;
  {
    SCOPED_TRACE("its process was killed");
    shadow_rig rig(folder_ / "killed");
    rig.ask_to_train(1, 40);
    left = 32;
    rig.before_job = [&] {
      if (left > 0 && --left == 0)
        caf::anon_send_exit(caf::actor_cast<caf::actor>(rig.shadow), caf::exit_reason::kill);
    };
    rig.system.pass(2s);
    rig.start();
    scores_then_the_task(rig);
  }
  SCOPED_TRACE("its engine was replaced");
  shadow_rig rig(folder_ / "replaced");
  rig.ask_to_train(1, 40);
  left = 32;
  rig.before_job = [&] {
    if (left == 0 || --left > 0) return;
    rig.job_failure = error{errc::unavailable, "the engine died"};
    rig.head.work.reset();
  };
  rig.system.pass(2s);
  rig.job_failure.reset();
  scores_then_the_task(rig);
}

TEST_F(shadow, keeps_what_it_saves_after_a_restart_that_began_with_scores) {
  const auto saved = [&] {
    std::set<std::string> names;
    for (const auto& f : std::filesystem::recursive_directory_iterator(folder_ / "saved"))
      if (f.is_regular_file()) names.insert(f.path().filename().string());
    return names;
  };
  shadow_rig rig(folder_);
  for (std::uint32_t round = 1; round <= 3; ++round) {
    rig.head.uploaded.clear();
    rig.ask_to_train(round, 16);
    rig.system.pass(2s);
  }
  const auto before = saved();
  ASSERT_EQ(before.size(), 2u);
  rig.ask_to_evaluate(0, 2, 0);
  rig.restart();
  rig.system.pass(2s);
  rig.head.uploaded.clear();
  rig.ask_to_train(4, 32);
  rig.system.pass(2s);
  ASSERT_EQ(rig.head.accepted.size(), 4u);
  for (const auto& name : saved()) EXPECT_FALSE(before.contains(name)) << name;
}

TEST_F(shadow, a_head_that_is_away_gets_the_update_when_it_is_back) {
  shadow_rig rig(folder_);
  rig.ask_to_train(1, 5);
  rig.before_job = [&] { rig.head.away = true; };
  rig.system.pass(10s);
  EXPECT_EQ(rig.trainer->batches, 5u) << "training goes on without the head";
  EXPECT_TRUE(rig.head.accepted.empty());
  rig.before_job = {};
  rig.head.away = false;
  rig.system.pass(2s);
  ASSERT_EQ(rig.head.accepted.size(), 1u);
  EXPECT_EQ(rig.trainer->batches, 5u);
}

TEST_F(shadow, measures_both_versions_on_the_reference_set_of_a_canary) {
  shadow_rig rig(folder_, 200);
  rig.ask_to_evaluate(0, 3, 0, true);
  rig.system.pass(2s);
  ASSERT_GT(rig.head.states.back().read()->getCanarySamples(), 2u);
  ASSERT_EQ(rig.head.scores.size(), 1u);
  const auto s = rig.head.scores[0].read();
  EXPECT_TRUE(s->getReference());
  EXPECT_EQ(s->getDifferences().size(), 0u);
  ASSERT_EQ(s->getEntropies().size(), 3u);
  ASSERT_EQ(s->getEntropiesBefore().size(), 3u);
  for (std::uint32_t i = 0; i < 3; ++i)
    EXPECT_THAT(s->getEntropiesBefore()[i] - s->getEntropies()[i], DoubleNear(1, 1e-9));
  // Not the gate's rows: a question of one set is in no other.
  const auto rows = rig.data->ordered(store::data_set::canary, "assistant@1", 0, 3);
  ASSERT_TRUE(rows);
  for (std::uint32_t i = 0; i < 3; ++i)
    EXPECT_THAT(s->getEntropies()[i],
                DoubleNear(6 - 0.01 * static_cast<double>((*rows)[i].prompt.size()), 1e-9));
}

TEST_F(shadow, under_fedbuff_goes_on_with_its_task_after_scores_that_were_wanted_in_between) {
  shadow_rig rig(folder_);
  std::uint32_t left = 10;
  rig.before_job = [&] {
    if (left == 0 || --left > 0) return;
    rig.ask_to_evaluate(0, 2, 0);
    caf::anon_send(rig.shadow, actors::slot_atom::value);  // steps take no time here
  };
  rig.ask_to_train(1, 100, schema::TrainedFactors::BOTH, true);
  rig.system.pass(600ms);
  ASSERT_EQ(rig.head.scores.size(), 1u) << "the gate does not wait for the whole task";
  const auto done = rig.trainer->batches;
  EXPECT_LT(done, 100u);
  EXPECT_TRUE(rig.head.accepted.empty());
  EXPECT_EQ(rig.head.states.back().read()->getRound(), 1u) << "and it says what it is still at";
  rig.ask_to_train(1, 100, schema::TrainedFactors::BOTH, true);
  rig.system.pass(5s);
  ASSERT_EQ(rig.head.accepted.size(), 1u);
  EXPECT_EQ(rig.head.accepted[0].read()->getRound(), 1u);
  EXPECT_EQ(rig.trainer->batches, 100u) << "no step is lost and none done twice";
  EXPECT_EQ(rig.head.states.back().read()->getRound(), 0u) << "done with it";
}

TEST_F(shadow, evaluates_by_difference_and_only_what_is_asked) {
  shadow_rig rig(folder_);
  rig.ask_to_evaluate(1, 2, 2);
  rig.system.pass(2s);
  ASSERT_EQ(rig.head.scores.size(), 1u);
  const auto s = rig.head.scores[0].read();
  EXPECT_EQ(s->getFrom(), 1u);
  ASSERT_EQ(s->getDifferences().size(), 2u);
  ASSERT_EQ(s->getGuard().size(), 2u);
  for (const double d : s->getDifferences())
    EXPECT_THAT(d, DoubleNear(1, 1e-9)) << "'serving' is one letter longer than 'better'";
  EXPECT_STREQ(s->getFailure().cStr(), "");
}

TEST_F(shadow, tells_how_far_it_looked_where_the_model_cannot_take_a_sequence) {
  shadow_rig rig(folder_, 200);
  const auto rows = rig.data->ordered(store::data_set::gate, "assistant@1", 0, 100);
  ASSERT_TRUE(rows);
  ASSERT_GT(rows->size(), 5u);
  rig.too_long = [longest = (*rows)[2].prompt](const auto& row) { return row.prompt == longest; };
  rig.ask_to_evaluate(0, 4, 0);
  rig.system.pass(2s);
  ASSERT_EQ(rig.head.scores.size(), 1u);
  EXPECT_EQ(rig.head.scores[0].read()->getDifferences().size(), 3u);
  EXPECT_EQ(rig.head.scores[0].read()->getRead(), 4u);
  const auto end = static_cast<std::uint32_t>(rows->size());
  rig.ask_to_evaluate(end - 1, 4, 0);
  rig.system.pass(2s);
  ASSERT_EQ(rig.head.scores.size(), 2u);
  EXPECT_EQ(rig.head.scores[1].read()->getRead(), 1u) << "there are no more";
}

TEST_F(shadow, a_candidate_that_cannot_be_had_is_told) {
  shadow_rig rig(folder_);
  rig.fetch_failure = error{errc::corrupt, "its bytes arrived damaged"};
  rig.ask_to_evaluate(0, 2, 0);
  rig.system.pass(2s);
  ASSERT_EQ(rig.head.scores.size(), 1u);
  EXPECT_STREQ(rig.head.scores[0].read()->getFailure().cStr(), "its bytes arrived damaged");
}

TEST_F(shadow, without_data_it_declines) {
  shadow_rig rig(folder_, 0);
  rig.ask_to_train(1, 5);
  rig.system.pass(3s);
  EXPECT_TRUE(rig.head.accepted.empty());
  const auto s = rig.head.states.back().read();
  EXPECT_EQ(s->getRound(), 1u);
  EXPECT_STREQ(s->getDeclined().cStr(), "no sample to train on");
}

TEST_F(shadow, a_loss_that_is_no_number_declines_the_task_and_is_not_tried_for_ever) {
  shadow_rig rig(folder_);
  rig.fails = true;
  rig.ask_to_train(1, 5);
  rig.system.pass(10s);
  EXPECT_TRUE(rig.head.accepted.empty());
  EXPECT_LT(rig.jobs, 6u);
  EXPECT_STREQ(rig.head.states.back().read()->getDeclined().cStr(), "the loss is no finite number");
}

}  // namespace
}  // namespace collm
