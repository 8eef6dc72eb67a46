// A journal or a blob that is damaged, and a quota for blobs that is full: what a round does then.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "tests/support/learning_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using schema::RoundState;
using schema::VersionState;
using testing_support::learning_options;
using testing_support::learning_rig;

actors::reply<std::uint32_t> open(learning_rig& rig) {
  actors::round_plan plan;
  for (const auto& s : rig.shadows) plan.members.push_back({s->replica, 6});
  return rig.ask<std::uint32_t>(plan);
}

double neither_better_nor_worse(std::uint32_t i) { return i % 2 == 0 ? 0.02 : -0.02; }
double better(std::uint32_t i) { return 0.05 + 0.01 * (i % 5); }

class learning_damage : public store::store_folder {
 protected:
  /// Changes one record of a round behind the journal's back.
  void spoil_journal(std::uint32_t round) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open((folder_ / "rounds.db").c_str(), &db), SQLITE_OK);
    const auto sql = "UPDATE records SET text = text || ' ' WHERE place = 1 AND round = " +
                     std::to_string(round);
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
    EXPECT_EQ(sqlite3_changes(db), 1);
    sqlite3_close(db);
  }

  /// Turns a bit in every blob of the head; returns their names.
  std::vector<std::string> spoil_blobs() {
    std::vector<std::string> names;
    for (const auto& f : std::filesystem::recursive_directory_iterator(folder_ / "blobs")) {
      if (!f.is_regular_file()) continue;
      damage(f.path(), 0);
      names.push_back(f.path().filename().string());
    }
    return names;
  }

  static result<msg<schema::FactorsChunk>> factors_of(learning_rig& rig, std::uint32_t version) {
    return *rig.ask<msg<schema::FactorsChunk>>(
        msg<schema::FactorsWanted>::build([&](schema::FactorsWanted::Builder b) {
          b.setAdapter("assistant");
          b.setNumber(version);
          b.setCount(1 << 20);
        }));
  }
};

TEST_F(learning_damage, a_running_round_of_a_damaged_journal_is_void_named_and_not_continued) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(*open(rig));
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  ASSERT_TRUE(*open(rig));
  ASSERT_TRUE(rig.wait_for(2, RoundState::TRAINING));
  rig.stop_head();
  spoil_journal(2);
  rig.start_head();
  rig.system.pass(30s);
  const auto told = rig.events("round_damaged");
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("round 2 is not continued"), std::string::npos) << told[0];
  EXPECT_NE(told[0].find("record 1 of round 2 of assistant is damaged"), std::string::npos);
  EXPECT_EQ(rig.state_of(2), RoundState::VOIDED);
  EXPECT_EQ(rig.versions().size(), 2u);
  EXPECT_EQ(rig.versions()[1], VersionState::SERVING);
  for (const auto& s : rig.shadows) EXPECT_EQ(s->accepted, 1u) << "only of the first round";
  // The next round has a number of its own and starts from what serves.
  const auto next = open(rig);
  ASSERT_TRUE(*next) << next->failure().message;
  EXPECT_EQ(**next, 3u);
  ASSERT_TRUE(rig.wait_for(3, RoundState::SERVING));
  EXPECT_EQ(rig.round(3).read()->getParent(), 1u);
}

TEST_F(learning_damage, nothing_builds_on_a_version_whose_round_is_damaged_until_a_rollback) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(*open(rig));
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  rig.stop_head();
  spoil_journal(1);
  rig.start_head();
  rig.system.pass(2s);
  EXPECT_EQ(rig.events("round_damaged").size(), 1u);
  EXPECT_EQ(rig.versions()[1], VersionState::SERVING) << "where it is, it serves on";
  const auto refused = open(rig);
  ASSERT_FALSE(*refused);
  EXPECT_FALSE(factors_of(rig, 1));
  EXPECT_EQ(rig.state_of(1), RoundState::VOIDED);
  const auto back = rig.system.ask<actors::reply<msg<schema::VersionRecord>>>(
      rig.registry, actors::rollback_atom::value, std::string("assistant"));
  ASSERT_TRUE(*back) << back->failure().message;
  const auto next = open(rig);
  ASSERT_TRUE(*next) << next->failure().message;
  EXPECT_EQ(**next, 2u);
  ASSERT_TRUE(rig.wait_for(2, RoundState::SERVING));
  EXPECT_EQ(rig.round(2).read()->getParent(), 0u);
}

TEST_F(learning_damage, a_damaged_blob_is_named_and_neither_given_out_nor_built_on) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(*open(rig));
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  ASSERT_TRUE(factors_of(rig, 1));
  rig.stop_head();
  ASSERT_GE(spoil_blobs().size(), 4u) << "three updates and their sum";
  rig.start_head();
  rig.system.pass(2s);
  const auto factors = factors_of(rig, 1);
  ASSERT_FALSE(factors);
  EXPECT_EQ(factors.failure().code, errc::corrupt) << factors.failure().message;
  EXPECT_FALSE(*open(rig));
  EXPECT_EQ(rig.versions()[1], VersionState::SERVING);
}

TEST_F(learning_damage, a_damaged_update_is_never_summed) {
  learning_rig rig(folder_, {.quorum = 3, .standing = false});
  rig.three_sites();
  rig.shadows[2]->trains = 20s;
  rig.start_head();
  ASSERT_TRUE(*open(rig));
  ASSERT_TRUE(rig.wait_for(1, RoundState::UPLOADING));
  rig.system.pass(2s);
  ASSERT_EQ(rig.shadows[0]->accepted, 1u);
  rig.stop_head();
  ASSERT_GE(spoil_blobs().size(), 1u);
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(1, RoundState::VOIDED));
  EXPECT_EQ(rig.versions().size(), 1u);
  EXPECT_NE(std::string(rig.round(1).read()->getReason().cStr()).find("damaged"), std::string::npos)
      << rig.round(1).read()->getReason().cStr();
}

TEST_F(learning_damage, a_full_quota_makes_older_rounds_give_way_and_every_round_still_ends) {
  std::shared_ptr<store::blob_store> blobs;
  const auto watch = [&](actors::aggregator_deps& deps) { blobs = deps.blobs; };
  std::uint64_t one_round = 0;
  {
    learning_rig calm(folder_ / "calm", {.standing = false, .change = watch});
    calm.three_sites();
    calm.start_head();
    ASSERT_TRUE(*open(calm));
    ASSERT_TRUE(calm.wait_for(1, RoundState::SERVING));
    one_round = blobs->bytes_used();
  }
  const auto quota = one_round * 4;  // a round, and what the versions before must keep
  learning_rig rig(folder_ / "tight",
                   {.blob_bytes_max = quota, .standing = false, .change = watch});
  rig.three_sites();
  rig.start_head();
  for (std::uint32_t number = 1; number <= 9; ++number) {
    const auto next = open(rig);
    ASSERT_TRUE(*next) << number << ": " << next->failure().message;
    ASSERT_TRUE(rig.wait_for(number, RoundState::SERVING)) << number;
    EXPECT_LE(blobs->bytes_used(), quota);
    for (const auto& s : rig.shadows) EXPECT_EQ(s->accepted, number) << "each counts once";
  }
  EXPECT_TRUE(factors_of(rig, 9));
  using answer = msg<schema::Replay>;
  EXPECT_FALSE(*rig.ask<answer>(actors::replay_atom::value, 1u, std::string("edge-b/0")))
      << "its updates gave way";
}

/// What a round that was promoted leaves behind.
std::uint64_t bytes_of_a_round(const std::filesystem::path& folder, bool undecided) {
  std::shared_ptr<store::blob_store> blobs;
  learning_rig rig(folder, {.standing = false,
                            .change = [&](actors::aggregator_deps& deps) { blobs = deps.blobs; }});
  rig.three_sites();
  if (undecided)
    for (const auto& s : rig.shadows) s->difference = neither_better_nor_worse;
  rig.start_head();
  EXPECT_TRUE(*open(rig));
  EXPECT_TRUE(rig.wait_for(1, undecided ? RoundState::REJECTED : RoundState::SERVING));
  return blobs->bytes_used();
}

/// The third update of the second round does not fit beside all of the first one.
TEST_F(learning_damage, a_full_quota_never_takes_the_candidate_that_the_round_starts_from) {
  const auto quota = bytes_of_a_round(folder_ / "calm", true) + 400;
  learning_rig rig(folder_ / "tight", {.blob_bytes_max = quota, .standing = false});
  rig.three_sites();
  for (const auto& s : rig.shadows) s->difference = neither_better_nor_worse;
  rig.start_head();
  ASSERT_TRUE(*open(rig));
  ASSERT_TRUE(rig.wait_for(1, RoundState::REJECTED));
  for (const auto& s : rig.shadows) s->difference = better;
  const auto next = open(rig);
  ASSERT_TRUE(*next) << next->failure().message;
  ASSERT_TRUE(rig.wait_for(2, RoundState::SERVING)) << rig.round(2).read()->getReason().cStr();
  EXPECT_EQ(rig.round(2).read()->getParent(), 1u) << "it went on from the undecided candidate";
  EXPECT_EQ(rig.events("round_failure").size(), 1u) << "the quota was full for a moment";
}

TEST_F(learning_damage, a_full_quota_takes_nothing_before_it_is_known_what_serves) {
  const auto quota = bytes_of_a_round(folder_ / "calm", false) + 400;
  learning_rig* current = nullptr;
  bool deaf = false;
  learning_rig rig(folder_ / "tight", {.quorum = 3,
                                       .blob_bytes_max = quota,
                                       .standing = false,
                                       .change = [&](actors::aggregator_deps&) {
                                         if (deaf)  // the registry never tells its versions
                                           caf::anon_send_exit(
                                               caf::actor_cast<caf::actor>(current->registry),
                                               caf::exit_reason::kill);
                                       }});
  current = &rig;
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(*open(rig));
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  rig.shadows[2]->trains = 20s;
  ASSERT_TRUE(*open(rig));
  ASSERT_TRUE(rig.wait_for(2, RoundState::UPLOADING));
  rig.system.pass(5s);
  rig.stop_head();
  deaf = true;
  rig.start_head();
  rig.system.pass(30s);
  EXPECT_EQ(rig.events("round_failure").size(), 1u) << "the third update found no room";
  rig.stop_head();
  deaf = false;
  rig.start_head();
  rig.system.pass(2s);
  const auto factors = factors_of(rig, 1);
  EXPECT_TRUE(factors) << factors.failure().message;
  EXPECT_TRUE(rig.wait_for(2, RoundState::SERVING));
}

/// An update has 168 bytes here, a sum 312: the third update does not fit, or the sum does not.
TEST_F(learning_damage, a_quota_that_holds_no_round_stops_it_in_words_and_a_larger_one_goes_on) {
  struct stop {
    std::uint64_t quota;
    RoundState in;
    const char* what;
  };
  for (const auto& [quota, in, what] : {stop{400, RoundState::UPLOADING, "an update: "},
                                        stop{624, RoundState::CLOSED, "the sum: "}}) {
    const auto folder = folder_ / what;
    {
      learning_rig rig(folder, {.quorum = 3, .blob_bytes_max = quota, .standing = false});
      rig.three_sites();
      rig.shadows[2]->trains = 10s;
      rig.start_head();
      ASSERT_TRUE(*open(rig)) << what;
      ASSERT_TRUE(rig.wait_for(1, in, 20s)) << what;
      rig.system.pass(20s);
      EXPECT_EQ(rig.state_of(1), in) << what;
      const auto told = rig.events("round_failure");
      ASSERT_EQ(told.size(), 1u) << what << ": said once, not at every try";
      EXPECT_NE(told[0].find(what), std::string::npos) << told[0];
      EXPECT_NE(told[0].find("is full"), std::string::npos) << told[0];
      EXPECT_EQ(rig.versions().size(), 1u) << what;
    }
    learning_rig roomy(folder, {.quorum = 3, .standing = false});
    roomy.three_sites();
    roomy.start_head();
    ASSERT_TRUE(roomy.wait_for(1, RoundState::SERVING)) << what;
    EXPECT_EQ(roomy.versions().size(), 2u) << what;
    std::uint32_t counted = 0;
    const auto r = roomy.round(1);
    for (const auto p : r.read()->getParticipants())
      counted += p.getState() == schema::ParticipantState::ACCEPTED ? 1 : 0;
    EXPECT_EQ(counted, 3u) << what << ": each counts once";
  }
}

}  // namespace
}  // namespace collm
