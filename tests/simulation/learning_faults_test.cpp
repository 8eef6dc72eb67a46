// What a round refuses, survives and explains: wrong updates, poison, two promotions at once,
// replay, lineage, jobs.
#include <gtest/gtest.h>

#include <cmath>

#include "federation/round_record.hpp"
#include "tests/support/learning_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using schema::ParticipantState;
using schema::RoundState;
using schema::VersionState;
using testing_support::learning_options;
using testing_support::learning_rig;

class learning_faults : public store::store_folder {
 protected:
  static ParticipantState state_of(learning_rig& rig, const std::string& client,
                                   std::string* reason = nullptr) {
    const auto r = rig.round(1);
    for (const auto p : r.read()->getParticipants()) {
      if (p.getClient() != client.c_str()) continue;
      if (reason) *reason = p.getReason().cStr();
      return p.getState();
    }
    ADD_FAILURE() << client;
    return ParticipantState::OFFERED;
  }

  /// One of three sends an update that is wrong: it is refused with that reason, and the round goes
  /// on with the two others.
  void expect_refused(const std::string& name, const std::string& reason,
                      const std::function<void(testing_support::shadow_model&)>& spoil) {
    learning_rig rig(folder_ / name, {.standing = false});
    rig.three_sites();
    spoil(*rig.shadows[2]);
    rig.start_head();
    open(rig);
    ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING)) << name;
    std::string told;
    EXPECT_EQ(state_of(rig, "edge-c/0", &told), ParticipantState::REFUSED) << name;
    EXPECT_NE(told.find(reason), std::string::npos) << name << ": " << told;
    EXPECT_EQ(rig.shadows[2]->accepted, 0u);
    EXPECT_EQ(rig.events("update_refused").size(), 1u);
  }
  /// Whether round 1 comes to the gate; no site evaluates there yet.
  static bool waits_at_the_gate(learning_rig& rig) {
    for (auto& s : rig.shadows) s->evaluates = false;
    rig.start_head();
    open(rig);
    return rig.wait_for(1, RoundState::GATE);
  }
  static void open(learning_rig& rig, std::uint32_t steps = 6) {
    actors::round_plan plan;
    for (const auto& s : rig.shadows) plan.members.push_back({s->replica, steps});
    const auto opened = rig.ask<std::uint32_t>(plan);
    ASSERT_TRUE(*opened) << opened->failure().message;
  }
};

TEST_F(learning_faults, p19_wrong_updates_are_refused_with_their_reason_and_nothing_else_changes) {
  using model = testing_support::shadow_model;
  const auto with = [](float v) {
    return [v](model& m) {
      m.changes = [v](std::uint32_t, std::size_t n) {
        std::vector<float> c(n, 0.1f);
        c[n / 2] = v;
        return c;
      };
    };
  };
  expect_refused("nan", "not finite", with(NAN));
  expect_refused("inf", "not finite", with(INFINITY));
  expect_refused("large", "at most 16", with(17.0f));
  expect_refused("shape", "number of values", [](model& m) {
    m.changes = [](std::uint32_t, std::size_t n) { return std::vector<float>(n + 1, 0.1f); };
  });
  expect_refused("base", "base is other", [](model& m) {
    m.forge = [](schema::UpdateHeader::Builder h) { h.setBaseDigest("other"); };
  });
  expect_refused("parent", "parent is 7", [](model& m) {
    m.forge = [](schema::UpdateHeader::Builder h) { h.setParent(7); };
  });
  expect_refused("tokens", "token count", [](model& m) {
    m.forge = [](schema::UpdateHeader::Builder h) { h.setTokens(-5); };
  });
  expect_refused("ranks", "rank is", [](model& m) {
    m.forge = [](schema::UpdateHeader::Builder h) { h.initRanks(2); };
  });
  expect_refused("oversize", "number of values", [](model& m) {
    m.forge = [](schema::UpdateHeader::Builder h) { h.setValues(1ull << 40); };
  });
}

TEST_F(learning_faults, an_update_without_a_byte_stored_is_refused_by_its_header) {
  learning_rig rig(folder_, {.quorum = 1, .standing = false});
  rig.add_shadow("edge-a/0", "kitchen")->forge = [](schema::UpdateHeader::Builder h) {
    h.setValues(1ull << 40);
  };
  rig.start_head();
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::VOIDED));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "blobs" / "incoming"));
}

TEST_F(learning_faults, p16_an_update_that_comes_again_counts_once) {
  learning_rig rig(folder_, {.quorum = 3, .standing = false});
  rig.three_sites();
  rig.shadows[2]->trains = 10s;
  rig.start_head();
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::UPLOADING));
  auto& first = *rig.shadows[0];
  ASSERT_TRUE(rig.wait_for(1, RoundState::UPLOADING) && first.accepted == 1);
  first.phase = schema::ShadowPhase::UPLOADING;  // as after its restart
  rig.system.pass(2s);
  EXPECT_EQ(first.accepted, 2u) << "told that it counts, again";
  // Another one of the same round does not replace it.
  first.changes = [](std::uint32_t, std::size_t n) { return std::vector<float>(n, 0.5f); };
  first.update = first.make_update(first.update.size());
  first.phase = schema::ShadowPhase::UPLOADING;
  rig.system.pass(2s);
  ASSERT_FALSE(first.errors.empty());
  EXPECT_NE(first.errors.back().find("counts already"), std::string::npos) << first.errors.back();
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  EXPECT_EQ(rig.shadows[0]->accepted, 2u);
  std::uint32_t counted = 0;
  const auto r = rig.round(1);
  for (const auto p : r.read()->getParticipants()) counted += p.getTokens() > 0 ? 1 : 0;
  EXPECT_EQ(counted, 3u);
}

TEST_F(learning_faults, a_poisoned_node_does_not_leave_the_honest_range_under_trimmed_mean) {
  federation::strategy how;
  how.robust = federation::robust_rule::trimmed_mean;
  learning_rig rig(folder_, {.how = how, .quorum = 5, .standing = false});
  for (int i = 0; i < 5; ++i)
    rig.add_shadow("edge-" + std::to_string(i) + "/0", "site" + std::to_string(i));
  for (int i = 0; i < 5; ++i)
    rig.shadows[static_cast<std::size_t>(i)]->changes = [i](std::uint32_t, std::size_t n) {
      return std::vector<float>(n, i == 4 ? 15.0f : 0.1f + 0.01f * static_cast<float>(i));
    };
  rig.start_head();
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  const auto chunk = rig.ask<msg<schema::FactorsChunk>>(
      msg<schema::FactorsWanted>::build([](schema::FactorsWanted::Builder b) {
        b.setAdapter("assistant");
        b.setNumber(1);
        b.setCount(1 << 20);
      }));
  ASSERT_TRUE(*chunk) << chunk->failure().message;
  const auto data = (**chunk).read();
  std::vector<float> factors(data->getTotal() / sizeof(float));
  ASSERT_EQ(data->getData().size(), data->getTotal());
  std::memcpy(factors.data(), data->getData().begin(), data->getTotal());
  for (const float f : factors) {
    EXPECT_LE(f, 0.25f + 0.131f);  // the parent's, and at most the largest honest change
    EXPECT_GE(f, 0.25f);
  }
}

TEST_F(learning_faults, a_version_promoted_meanwhile_was_first) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  ASSERT_TRUE(waits_at_the_gate(rig));
  caf::anon_send(rig.registry, msg<schema::Register>::build([](schema::Register::Builder b) {
                   b.setAdapter("assistant");
                   b.setDigest("an operator's");
                   b.setSource("peft:other");
                   b.setBaseDigest("base");
                 }));
  for (auto& s : rig.shadows) s->evaluates = true;
  ASSERT_TRUE(rig.wait_for(1, RoundState::REJECTED));
  EXPECT_EQ(rig.versions()[2], VersionState::SERVING);
  EXPECT_EQ(rig.versions()[1], VersionState::REJECTED);
  EXPECT_NE(std::string(rig.round(1).read()->getReason().cStr()).find("2 "), std::string::npos);
}

/// Nobody could measure what it was made to beat any more.
TEST_F(learning_faults, a_version_withdrawn_at_the_gate_ends_the_round) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  ASSERT_TRUE(waits_at_the_gate(rig));
  caf::anon_send(rig.registry, actors::unload_atom::value, std::string("assistant"));
  ASSERT_TRUE(rig.wait_for(1, RoundState::REJECTED, 5s));
  EXPECT_EQ(std::string(rig.round(1).read()->getReason().cStr()),
            "version 0, which it was made to beat, was withdrawn");
  rig.system.pass(2s);
  EXPECT_EQ(rig.versions()[0], VersionState::RETIRED);
  EXPECT_EQ(rig.versions()[1], VersionState::REJECTED);
}

/// Between the registry's list that the aggregator knows and its word to the registry.
TEST_F(learning_faults, a_version_promoted_as_the_round_asks_was_first) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  rig.system.pass(400ms);  // the aggregator's slots lie between those of the shadows
  ASSERT_TRUE(waits_at_the_gate(rig));
  rig.system.pass(5s);
  rig.pass_until_shadows_are_next();
  for (auto& s : rig.shadows) s->evaluates = true;
  caf::anon_send(rig.registry, msg<schema::Register>::build([](schema::Register::Builder b) {
                   b.setAdapter("assistant");
                   b.setDigest("an operator's");
                   b.setSource("peft:other");
                   b.setBaseDigest("base");
                 }));
  rig.system.pass(200ms);  // the last scores come; the next list is asked for later
  EXPECT_EQ(rig.state_of(1), RoundState::REJECTED);
  const std::string reason = rig.round(1).read()->getReason().cStr();
  EXPECT_NE(reason.find("was judged against assistant@0; now assistant@2 serves"),
            std::string::npos)
      << reason;
  rig.system.pass(2s);
  EXPECT_EQ(rig.versions()[2], VersionState::SERVING);
  EXPECT_EQ(rig.versions()[1], VersionState::REJECTED);
}

/// As after SIGSTOP: what nobody had a turn in is no part of a round, whoever speaks first.
TEST_F(learning_faults, an_operators_close_that_wakes_the_head_closes_at_the_rounds_own_time) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  rig.shadows[2]->trains = 1h;
  rig.start_head();
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::UPLOADING));
  rig.system.pass(3s);
  rig.system.compute(600s);
  ASSERT_TRUE(*rig.ask<void>(actors::close_atom::value, std::string("an operator")));
  auto journal = store::open_round_journal(folder_ / "rounds.db");
  ASSERT_TRUE(journal) << journal.failure().message;
  const auto lines = (*journal)->read("assistant", 1);
  ASSERT_TRUE(lines && lines->size() > 2);
  double opened = -1, closed = -1;
  for (const auto& line : *lines) {
    const auto r = federation::record_of(line);
    ASSERT_TRUE(r) << line;
    if (r->kind == federation::record_kind::opened) opened = r->at_ms;
    if (r->kind == federation::record_kind::closed) closed = r->at_ms;
  }
  EXPECT_GT(closed, opened);
  EXPECT_LT(closed - opened, 60000);
}

TEST_F(learning_faults, traffic_that_is_told_as_the_head_wakes_is_not_fresh_for_ever) {
  const coordinator::canary_options wanted{.share = 0.5, .completions = 20, .time_max_ms = 15000};
  learning_rig rig(folder_, {.standing = false, .change = [wanted](actors::aggregator_deps& d) {
                               d.canary = wanted;
                             }});
  rig.three_sites();
  rig.start_head();
  rig.system.pass(2s);
  rig.system.compute(600s);
  caf::anon_send(rig.aggregator, msg<schema::Snapshot>::build([](schema::Snapshot::Builder b) {
                   b.setNode("edge-a");
                   b.setPid(1);
                   auto t = b.initTraffic(1)[0];
                   t.setAdapter("assistant");
                   t.setAnswers(120);
                   t.setRequestsPerSecond(2);
                 }));
  rig.system.pass(20s);
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  EXPECT_EQ(rig.events("canary_left_out").size(), 1u) << "nobody was heard for 20 s";
  EXPECT_TRUE(rig.events("version_canary").empty());
}

TEST_F(learning_faults, two_judged_promotions_at_once_the_registry_takes_one) {
  learning_rig rig(folder_, {.standing = false});
  rig.start_head();
  const auto candidate = [&](const std::string& digest) {
    const auto what = msg<schema::Register>::build([&](schema::Register::Builder b) {
      b.setAdapter("assistant");
      b.setDigest(digest);
      b.setSource("round:" + digest);
      b.setBaseDigest("base");
      b.setCandidate(true);
    });
    const auto r = rig.system.ask<actors::reply<msg<schema::VersionRecord>>>(
        rig.registry, what, store::version_lineage{1, "rolora", {{"u", "edge-a/0", 5}}});
    EXPECT_TRUE(*r) << r->failure().message;
    return (**r).read()->getNumber();
  };
  const version_id a{"assistant", candidate("1")}, b{"assistant", candidate("2")};
  const auto promote = [&](const version_id& id) {
    return rig.system.ask<actors::reply<msg<schema::VersionRecord>>>(
        rig.registry, actors::promote_atom::value, id, std::uint32_t{0}, std::string("better"));
  };
  EXPECT_TRUE(*promote(a));
  EXPECT_TRUE(*promote(a)) << "told again, it is still so";
  const auto second = promote(b);
  ASSERT_FALSE(*second);
  EXPECT_EQ(second->failure().code, errc::conflict);
  EXPECT_EQ(rig.versions()[a.number], VersionState::SERVING);
  EXPECT_EQ(rig.versions()[b.number], VersionState::CANDIDATE);
  EXPECT_EQ(rig.events("version_promoted").size(), 1u);
}

TEST_F(learning_faults, candidates_do_not_come_from_nodes) {
  learning_rig rig(folder_, {.standing = false});
  rig.start_head();
  const auto r = rig.system.ask<actors::reply<msg<schema::VersionRecord>>>(
      rig.registry, msg<schema::Register>::build([](schema::Register::Builder b) {
        b.setAdapter("assistant");
        b.setDigest("x");
        b.setBaseDigest("base");
        b.setCandidate(true);
      }));
  ASSERT_FALSE(*r);
  EXPECT_EQ(r->failure().code, errc::forbidden);
}

TEST_F(learning_faults, a_round_can_be_made_again_without_one_node) {
  learning_rig rig(folder_);
  rig.three_sites();
  rig.start_head();
  ASSERT_TRUE(rig.wait_for(2, RoundState::SERVING));
  using answer = msg<schema::Replay>;
  const auto r = rig.ask<answer>(actors::replay_atom::value, 1u, std::string("edge-b/0"));
  ASSERT_TRUE(*r) << r->failure().message;
  const auto replay = (**r).read();
  EXPECT_EQ(replay->getUpdates(), 2u);
  EXPECT_NE(std::string(replay->getDigest().cStr()), replay->getOriginal().cStr());
  EXPECT_GT(replay->getRelativeChange(), 0.01);
  ASSERT_GE(replay->getBuiltOn().size(), 1u);
  EXPECT_EQ(replay->getBuiltOn()[0], 2u);
  const auto again = rig.ask<answer>(actors::replay_atom::value, 1u, std::string("edge-b/0"));
  EXPECT_STREQ((**again).read()->getDigest().cStr(), replay->getDigest().cStr());
  const auto nobody = rig.ask<answer>(actors::replay_atom::value, 1u, std::string("edge-x/0"));
  ASSERT_FALSE(*nobody);
  EXPECT_NE(nobody->failure().message.find("edge-a/0, edge-b/0, edge-c/0"), std::string::npos);
  EXPECT_EQ(rig.ask<answer>(actors::replay_atom::value, 99u, std::string("x"))->failure().code,
            errc::not_found);
}

TEST_F(learning_faults, a_version_says_what_it_is_made_of_and_why_it_serves) {
  learning_rig rig(folder_, {.guard_pool = 16, .standing = false});
  rig.three_sites();
  rig.start_head();
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  const auto check = [&] {
    const auto r =
        rig.ask<msg<schema::Explanation>>(actors::explain_atom::value, version_id{"assistant", 1});
    ASSERT_TRUE(*r) << r->failure().message;
    const auto e = (**r).read();
    EXPECT_EQ(e->getRound(), 1u);
    EXPECT_EQ(e->getVersion().getState(), schema::VersionState::SERVING);
    EXPECT_EQ(std::string(e->getVerdict().cStr()).find("better than the serving version"), 0u);
    EXPECT_EQ(e->getLook(), 16u);
    EXPECT_GT(e->getLower(), e->getMargin());
    EXPECT_EQ(e->getSites().size(), 4u);  // three and the guard set
    ASSERT_EQ(e->getUpdates().size(), 3u);
    for (const auto u : e->getUpdates()) EXPECT_EQ(u.getDigest().size(), 64u);
  };
  check();
  rig.stop_head();
  rig.start_head();
  check();
  const auto initial =
      rig.ask<msg<schema::Explanation>>(actors::explain_atom::value, version_id{"assistant", 0});
  ASSERT_TRUE(*initial);
  EXPECT_EQ((**initial).read()->getRound(), 0u);
  EXPECT_FALSE(
      *rig.ask<msg<schema::Explanation>>(actors::explain_atom::value, version_id{"assistant", 9}));
}

TEST_F(learning_faults, few_sequences_leave_the_promotion_to_an_operator) {
  learning_rig rig(folder_, {.operator_ms = 30000, .standing = false});
  rig.three_sites();
  for (auto& s : rig.shadows) s->gate_samples = 2;
  rig.start_head();
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::GATE));
  rig.system.pass(5s);
  EXPECT_EQ(rig.events("round_waits").size(), 1u);
  const auto promoted = rig.system.ask<actors::reply<msg<schema::VersionRecord>>>(
      rig.registry, actors::promote_atom::value, version_id{"assistant", 1});
  ASSERT_TRUE(*promoted);
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING, 5s));
  open(rig);
  ASSERT_TRUE(rig.wait_for(2, RoundState::REJECTED, 60s));
  EXPECT_NE(std::string(rig.round(2).read()->getReason().cStr()).find("nobody did"),
            std::string::npos);
}

TEST_F(learning_faults, a_round_whose_sum_is_no_news_is_void) {
  learning_rig rig(folder_, {.standing = false});
  rig.three_sites();
  for (auto& s : rig.shadows)
    s->changes = [](std::uint32_t, std::size_t n) { return std::vector<float>(n, 0.0f); };
  rig.start_head();
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  open(rig);  // the same bytes again
  ASSERT_TRUE(rig.wait_for(2, RoundState::VOIDED));
  EXPECT_NE(std::string(rig.round(2).read()->getReason().cStr()).find("version 1 again"),
            std::string::npos);
  EXPECT_EQ(rig.versions().size(), 2u);
  EXPECT_EQ(rig.versions()[1], VersionState::SERVING);
}

TEST_F(learning_faults, a_round_takes_four_hundred_nodes) {
  learning_rig rig(folder_, {.quorum = 400, .standing = false});
  rig.step = 2s;
  for (int i = 0; i < 400; ++i)
    rig.add_shadow("edge-" + std::to_string(i) + "/0", "site" + std::to_string(i % 4));
  rig.start_head();
  open(rig);
  ASSERT_TRUE(rig.wait_for(1, RoundState::SERVING));
  EXPECT_EQ(rig.round(1).read()->getParticipants().size(), 400u);
}

}  // namespace
}  // namespace collm
