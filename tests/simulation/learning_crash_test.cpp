// The head dies at every one of its durable calls, and in every state of a round: the round
// resumes, the same accepted updates give the same bytes, nothing counts twice.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/support/learning_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using schema::RoundState;
using schema::VersionState;
using testing_support::learning_options;
using testing_support::learning_rig;
using testing_support::power;

/// What a walk over all kills found, a row a state; COLLM_KILL_LOG names a file for it.
class kill_log {
 public:
  void died(RoundState in, bool same) {
    auto& row = rows_[in];
    ++row.kills;
    row.equal += same ? 1 : 0;
  }
  bool has(RoundState s) const { return rows_.contains(s); }
  std::string table(const std::string& digest) const {
    std::ostringstream out;
    int kills = 0, equal = 0;
    out << "| the round was | kills | bytes equal afterwards |\n|---|---|---|\n";
    for (const auto& [state, row] : rows_) {
      out << "| " << name_of(state) << " | " << row.kills << " | " << row.equal << " |\n";
      kills += row.kills;
      equal += row.equal;
    }
    out << "| all | " << kills << " | " << equal << " |\n\nThe version is " << digest
        << " in every life.\n";
    return out.str();
  }

 private:
  struct row {
    int kills = 0, equal = 0;
  };
  static std::string name_of(RoundState s) {
    constexpr const char* names[] = {"not opened, or opened",
                                     "assigned",
                                     "training",
                                     "uploading",
                                     "closed",
                                     "voided",
                                     "summed",
                                     "candidate",
                                     "at the gate",
                                     "canary",
                                     "promoted",
                                     "rejected"};
    return names[static_cast<std::size_t>(s)];
  }
  std::map<RoundState, row> rows_;
};

class a_head_that_dies : public store::store_folder {
 protected:
  /// What a life that nothing disturbs made: of the round's sum, as the registry names it.
  struct outcome {
    std::string version_digest;
    int calls = 0;
    std::map<std::string, std::string> updates;  ///< client → digest
  };

  /// One round alone, opened by the test: the coordinator would open more.
  static learning_options alone() { return {.quorum = 3, .standing = false}; }

  /// The round, if no earlier life opened it.
  static void open(learning_rig& rig) {
    if (!rig.rounds().empty()) return;
    actors::round_plan plan;
    for (const auto& s : rig.shadows) plan.members.push_back({s->replica, 6});
    (void)rig.system.ask<actors::reply<std::uint32_t>>(rig.aggregator, plan);
  }

  static std::string digest_of(learning_rig& rig, std::uint32_t number) {
    const auto list = rig.system.ask<actors::reply<msg<schema::VersionList>>>(
        rig.registry, actors::list_atom::value);
    const auto read = (**list).read();
    for (const auto v : read->getVersions())
      if (v.getNumber() == number) return v.getDigest().cStr();
    return "";
  }
  static outcome outcome_of(learning_rig& rig) {
    outcome o{digest_of(rig, 1), 0, {}};
    const auto round = rig.round(1);
    for (const auto p : round.read()->getParticipants())
      o.updates[p.getClient().cStr()] = p.getDigest().cStr();
    return o;
  }

  void expect_the_same(learning_rig& rig, const outcome& calm, const std::string& at) {
    ASSERT_EQ(rig.rounds().size(), 1u) << at;
    EXPECT_EQ(rig.versions().size(), 2u) << at << ": one candidate, once";
    EXPECT_EQ(rig.versions()[1], VersionState::SERVING) << at;
    const auto now = outcome_of(rig);
    EXPECT_EQ(now.version_digest, calm.version_digest) << at;
    EXPECT_EQ(now.updates, calm.updates) << at;
  }

  outcome calm() {
    learning_rig rig(folder_ / "calm", alone());
    rig.three_sites();
    power p;
    rig.start_head(p);
    open(rig);
    EXPECT_TRUE(rig.wait_for(1, RoundState::SERVING));
    auto o = outcome_of(rig);
    o.calls = p.calls();
    return o;
  }
};

TEST_F(a_head_that_dies, at_any_durable_call_ends_in_the_same_bytes) {
  const auto undisturbed = calm();
  ASSERT_GT(undisturbed.calls, 20);
  kill_log log;
  for (int n = 0; n < undisturbed.calls; ++n) {
    const auto at = "call " + std::to_string(n);
    learning_rig rig(folder_ / std::to_string(n), alone());
    rig.three_sites();
    power weak{.left = n};
    rig.start_head(weak);
    open(rig);
    for (int slot = 0; slot < 240 && !weak.gone; ++slot) rig.system.pass(500ms);
    ASSERT_TRUE(weak.gone) << at;
    const auto state = rig.state_of(1).value_or(RoundState::OPENED);
    rig.stop_head();
    rig.system.pass(3s);
    power strong;
    rig.start_head(strong);
    open(rig);
    ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING)) << at;
    expect_the_same(rig, undisturbed, at);
    const auto now = outcome_of(rig);
    log.died(state, now.version_digest == undisturbed.version_digest &&
                        now.updates == undisturbed.updates);
  }
  for (const auto s :
       {RoundState::OPENED, RoundState::ASSIGNED, RoundState::TRAINING, RoundState::UPLOADING,
        RoundState::CLOSED, RoundState::SUMMED, RoundState::CANDIDATE, RoundState::GATE})
    EXPECT_TRUE(log.has(s)) << "never died in state " << static_cast<int>(s);
  const auto table = log.table(undisturbed.version_digest);
  std::printf("%s", table.c_str());
  if (const char* file = std::getenv("COLLM_KILL_LOG")) {
    std::ofstream out(file);
    out << "## The head's actors on virtual time\n\n"
           "`COLLM_KILL_LOG=FILE build/bin/learning_crash_test`\n\n"
           "Three sites, one round: the head's n-th write to journal, blobs or registry fails\n"
           "halfway and it dies there, for every n; a new head over the same files ends the\n"
           "round. Equal: the digests of the version and of every accepted update are those of\n"
           "a life that nothing disturbed, and there is one candidate.\n\n"
        << table;
    ASSERT_TRUE(out.flush()) << file;
  }
}

TEST_F(a_head_that_dies, after_every_few_calls_still_gets_there) {
  const auto undisturbed = calm();
  for (int n = 4; n < 8; ++n) {
    const auto at = std::to_string(n) + " calls a life";
    learning_rig rig(folder_ / ("again" + std::to_string(n)), alone());
    rig.three_sites();
    int lives = 0;
    for (bool ended = false; !ended && lives < 60; ++lives) {
      power weak{.left = n};
      rig.start_head(weak);
      open(rig);
      for (int slot = 0; slot < 120 && !weak.gone && !ended; ++slot) {
        rig.system.pass(500ms);
        ended = rig.state_of(1) == RoundState::SERVING && !weak.gone;
      }
      if (!ended) rig.stop_head();
    }
    EXPECT_GT(lives, 2) << at;
    ASSERT_LT(lives, 60) << at;
    expect_the_same(rig, undisturbed, at);
  }
}

TEST_F(a_head_that_dies, in_the_rejection_still_withdraws_the_candidate) {
  for (int n = 0; n < 80; ++n) {
    learning_rig rig(folder_ / std::to_string(n), alone());
    rig.three_sites();
    for (auto& s : rig.shadows)
      s->difference = [](std::uint32_t i) { return -0.1 - 0.01 * (i % 3); };
    power weak{.left = n};
    rig.start_head(weak);
    open(rig);
    for (int slot = 0; slot < 60 && !weak.gone; ++slot) rig.system.pass(500ms);
    if (!weak.gone) {
      EXPECT_GT(n, 20);
      return;
    }
    rig.stop_head();
    power strong;
    rig.start_head(strong);
    open(rig);
    ASSERT_TRUE(rig.wait_for(1, RoundState::REJECTED)) << n;
    rig.system.pass(1s);
    EXPECT_EQ(rig.versions()[1], VersionState::REJECTED) << n;
    EXPECT_EQ(rig.versions()[0], VersionState::SERVING) << n;
  }
}

TEST_F(a_head_that_dies, for_ten_minutes_leaves_the_round_the_time_that_it_had) {
  learning_rig rig(folder_, {.quorum = 3, .deadline_ms = 20000, .standing = false});
  rig.three_sites();
  for (auto& s : rig.shadows) s->trains = 8s;
  rig.start_head();
  open(rig);
  rig.system.pass(4s);
  ASSERT_EQ(rig.state_of(1), RoundState::TRAINING);
  rig.stop_head();
  rig.system.pass(600s);
  rig.start_head();
  EXPECT_EQ(rig.state_of(1), RoundState::TRAINING);
  const auto left = rig.round(1).read()->getRemainingMs();
  EXPECT_GT(left, 15000u);
  EXPECT_LE(left, 20000u);
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING, 30s));
  for (const auto& s : rig.shadows) EXPECT_EQ(s->accepted, 1u);
}

TEST_F(a_head_that_dies, or_is_stopped_for_ten_minutes_goes_on_with_the_time_that_it_had) {
  learning_rig rig(folder_, {.quorum = 3, .deadline_ms = 20000, .standing = false});
  rig.three_sites();
  for (auto& s : rig.shadows) s->trains = 610s;  // the sites' time goes on
  rig.start_head();
  open(rig);
  rig.system.pass(4s);
  ASSERT_EQ(rig.state_of(1), RoundState::TRAINING);
  rig.system.compute(600s);  // SIGSTOP: nobody's turn comes
  rig.system.pass(500ms);
  ASSERT_NE(rig.state_of(1), RoundState::VOIDED) << rig.round(1).read()->getReason().cStr();
  EXPECT_GT(rig.round(1).read()->getRemainingMs(), 14000u);
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING, 30s));
  for (const auto& s : rig.shadows) EXPECT_EQ(s->accepted, 1u);
}

TEST_F(a_head_that_dies, whose_disk_is_full_shows_nothing_and_goes_on_when_there_is_room) {
  learning_rig rig(folder_, alone());
  rig.three_sites();
  power p;
  rig.start_head(p);
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::TRAINING));
  p.gone = true;
  rig.system.pass(30s);
  EXPECT_EQ(rig.state_of(1), RoundState::TRAINING);
  const auto told = rig.events("round_failure");
  ASSERT_FALSE(told.empty());
  EXPECT_LT(told.size(), 5u) << "said once, not in every slot";
  EXPECT_NE(told[0].find("no space left"), std::string::npos) << told[0];
  p.gone = false;
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  for (const auto& s : rig.shadows) EXPECT_EQ(s->accepted, 1u);
}

}  // namespace
}  // namespace collm
