// Fine-tuning jobs: a job counts an adapter's rounds, over restarts of the head.
#include <gtest/gtest.h>

#include "tests/support/learning_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using schema::JobState;
using schema::RoundState;
using testing_support::learning_rig;

class jobs : public store::store_folder {
 protected:
  using job_reply = actors::reply<msg<schema::Job>>;

  static job_reply create(learning_rig& rig, std::uint32_t rounds,
                          const std::string& adapter = "assistant") {
    return rig.system.ask<job_reply>(
        rig.coordinator, msg<schema::JobRequest>::build([&](schema::JobRequest::Builder b) {
          b.setAdapter(adapter);
          b.setRounds(rounds);
          b.setTrainingFile("file-1");
          b.setOwner("ann");
          b.setSite("kitchen");
        }));
  }
  static std::string id_of(const job_reply& r) { return (**r).read()->getId().cStr(); }
  static msg<schema::Job> job(learning_rig& rig, const std::string& id) {
    const auto list = rig.system.ask<actors::reply<msg<schema::JobList>>>(rig.coordinator,
                                                                          actors::list_atom::value);
    const auto read = (**list).read();
    for (const auto j : read->getJobs())
      if (j.getId() == id.c_str()) return msg<schema::Job>::copy_of(j);
    ADD_FAILURE() << "no job " << id;
    return (msg<schema::Job>::build([](schema::Job::Builder) {}));
  }
  static bool wait_for(learning_rig& rig, const std::string& id, JobState s) {
    for (int slot = 0; slot < 400; ++slot) {
      if (job(rig, id).read()->getState() == s) return true;
      rig.system.pass(500ms);
    }
    return false;
  }
};

TEST_F(jobs, run_their_rounds_and_succeed) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  rig.start_head();
  rig.system.pass(10s);
  EXPECT_TRUE(rig.rounds().empty()) << "nothing learns unasked";
  const auto made = create(rig, 2);
  ASSERT_TRUE(*made) << made->failure().message;
  const auto id = id_of(made);
  EXPECT_EQ(id.substr(0, 6), "ftjob-");
  ASSERT_TRUE(wait_for(rig, id, JobState::SUCCEEDED));
  rig.system.pass(30s);
  const auto j = job(rig, id);
  EXPECT_EQ(j.read()->getDone(), 2u);
  EXPECT_EQ(j.read()->getPromoted(), 2u);
  EXPECT_EQ(j.read()->getVersion(), 2u);
  EXPECT_EQ(j.read()->getTokens(), 600);
  EXPECT_STREQ(j.read()->getTrainingFile().cStr(), "file-1");
  EXPECT_STREQ(j.read()->getOwner().cStr(), "ann");
  EXPECT_STREQ(j.read()->getSite().cStr(), "kitchen");
  EXPECT_EQ(rig.rounds().size(), 2u);
}

TEST_F(jobs, of_one_tenant_do_not_fill_the_queue_of_all) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  rig.start_head();
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(*create(rig, 1)) << i;
  const auto ninth = create(rig, 1);
  ASSERT_FALSE(*ninth);
  EXPECT_EQ(ninth->failure().code, errc::rate_limited);
}

TEST_F(jobs, without_a_number_end_when_nothing_is_gained) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  for (auto& s : rig.shadows) s->difference = [](std::uint32_t i) { return -0.1 - 0.01 * (i % 3); };
  rig.start_head();
  const auto id = id_of(create(rig, 0));
  ASSERT_TRUE(wait_for(rig, id, JobState::SUCCEEDED));
  EXPECT_EQ(job(rig, id).read()->getDone(), 3u);
  EXPECT_EQ(job(rig, id).read()->getPromoted(), 0u);
}

TEST_F(jobs, go_on_after_the_head_came_back_and_count_no_round_twice) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  rig.start_head();
  const auto id = id_of(create(rig, 3));
  for (std::uint32_t round = 1; round <= 3; ++round) {
    ASSERT_TRUE(rig.wait_for(round, RoundState::TRAINING)) << round;
    rig.stop_head();
    rig.system.pass(2s);
    rig.start_head();
    ASSERT_TRUE(rig.wait_for(round, RoundState::SERVING)) << round;
    rig.stop_head();
    rig.start_head();
  }
  ASSERT_TRUE(wait_for(rig, id, JobState::SUCCEEDED));
  EXPECT_EQ(job(rig, id).read()->getDone(), 3u);
  EXPECT_EQ(job(rig, id).read()->getTokens(), 900);
  EXPECT_EQ(rig.rounds().size(), 3u);
}

TEST_F(jobs, wait_for_one_another_and_can_be_cancelled) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  rig.start_head();
  const auto first = id_of(create(rig, 5)), second = id_of(create(rig, 1));
  EXPECT_NE(first, second);
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  EXPECT_EQ(job(rig, second).read()->getState(), JobState::QUEUED);
  const auto gone = rig.system.ask<job_reply>(rig.coordinator, actors::cancel_atom::value, first);
  ASSERT_TRUE(*gone);
  EXPECT_EQ((**gone).read()->getState(), JobState::CANCELLED);
  ASSERT_TRUE(wait_for(rig, second, JobState::SUCCEEDED));
  EXPECT_EQ(job(rig, first).read()->getDone(), 1u);
  const auto late = rig.system.ask<job_reply>(rig.coordinator, actors::cancel_atom::value, second);
  EXPECT_EQ(late->failure().code, errc::conflict);
  const auto none = rig.system.ask<job_reply>(rig.coordinator, actors::cancel_atom::value,
                                              std::string("ftjob-0"));
  EXPECT_EQ(none->failure().code, errc::not_found);
}

TEST_F(jobs, fail_where_no_round_meets_its_quorum) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  for (auto& s : rig.shadows) s->declines = "no sample to train on";
  rig.start_head();
  const auto id = id_of(create(rig, 2));
  ASSERT_TRUE(wait_for(rig, id, JobState::FAILED));
  EXPECT_NE(std::string(job(rig, id).read()->getMessage().cStr()).find("void"), std::string::npos);
  const auto r = rig.round(1);
  EXPECT_STREQ(r.read()->getParticipants()[0].getReason().cStr(), "no sample to train on");
}

TEST_F(jobs, of_an_adapter_that_does_not_learn_are_refused_by_name) {
  learning_rig rig(folder_, {.standing = false});
  rig.start_head();
  const auto r = create(rig, 1, "other");
  ASSERT_FALSE(*r);
  EXPECT_EQ(r->failure().code, errc::not_found);
  EXPECT_NE(r->failure().message.find("learning: assistant"), std::string::npos);
}

}  // namespace
}  // namespace collm
