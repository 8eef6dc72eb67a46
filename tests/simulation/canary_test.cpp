// Canaries on virtual time: live requests at two sites judge what the gate let pass. Production
// actors at the head and at the sites.
#include <gtest/gtest.h>

#include <set>

#include "coordinator/gate.hpp"
#include "tests/support/canary_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using schema::RoundState;
using schema::VersionState;
using testing_support::canary_rig;
using testing_support::canary_rig_options;

/// Four requests a second: more than enough for a canary.
constexpr auto busy = 250ms;

class canary : public store::store_folder {
 protected:
  /// The last minute had enough requests by the time that a round is through its gate.
  static void warm(canary_rig& rig) {
    rig.play(30s, busy);
    rig.start_head();
  }
  static std::string reason(canary_rig& rig) {
    return rig.head.round(1).read()->getReason().cStr();
  }
  static void all_were_answered(const canary_rig& rig) {
    for (const auto& n : rig.nodes)
      for (const auto& [id, a] : n->answers) {
        EXPECT_EQ(a.rejected, 0u) << id << ": " << a.message;
        EXPECT_EQ(a.finished, 1u) << id;
      }
  }
};

bool is_candidate(const std::string& digest) { return digest != "initial" && digest != "base"; }

TEST_F(canary, answers_its_share_of_requests_and_is_promoted) {
  canary_rig rig(folder_);
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy));
  EXPECT_EQ(rig.head.versions()[1], VersionState::CANARY);
  EXPECT_EQ(rig.head.versions()[0], VersionState::SERVING);
  rig.play(2s, busy);
  for (const auto& n : rig.nodes) {
    EXPECT_EQ(n->resident()[0], VersionState::SERVING) << n->deps().name;
    EXPECT_EQ(n->resident()[1], VersionState::CANARY) << n->deps().name;
  }
  ASSERT_TRUE(rig.play_until(1, RoundState::SERVING, busy));
  EXPECT_NE(reason(rig).find("canary: no worse than the serving version"), std::string::npos)
      << reason(rig);
  EXPECT_NE(reason(rig).find("better than the serving version: "), std::string::npos)
      << "what the gate said stays: " << reason(rig);
  EXPECT_EQ(rig.head.versions()[1], VersionState::SERVING);
  rig.play(3s, busy);
  const auto since = rig.next();
  rig.play(2s, busy);
  EXPECT_EQ(rig.answered(since), (std::map<std::uint32_t, std::uint32_t>{{1, 8}}));
  for (const auto& n : rig.nodes) {
    EXPECT_EQ(n->resident(), (std::map<std::uint32_t, VersionState>{{1, VersionState::SERVING}}));
    EXPECT_EQ(n->events("canary_answers").size(), 1u);
  }
  all_were_answered(rig);
}

TEST_F(canary, takes_the_requests_that_its_share_says_and_each_always_the_same_way) {
  canary_rig rig(folder_, {.canary = {.share = 0.3, .completions = 1000000, .time_max_ms = 3e6}});
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy));
  rig.play(3s, busy);  // until every node has it
  const auto first = rig.next();
  rig.play(60s, busy);
  std::uint32_t taken = 0, all = 0;
  for (const auto& n : rig.nodes)
    for (const auto& [id, a] : n->answers) {
      if (id < first) continue;
      EXPECT_EQ(a.version, coordinator::canary_takes(id, 1, 0.3) ? 1u : 0u) << id;
      taken += a.version;
      ++all;
    }
  EXPECT_EQ(all, 240u);
  EXPECT_NEAR(taken, 72, 25);
  // Sent again, as a bridge does that was told to come back.
  for (request_id id = first; id < first + 20; ++id) {
    auto& n = *rig.nodes[id % rig.nodes.size()];
    const auto before = n.answers[id].version;
    n.send(id, "assistant");
    rig.head.system.pass(100ms);
    EXPECT_EQ(n.answers[id].version, before) << id;
  }
}

TEST_F(canary, moves_nobody_who_names_a_version) {
  canary_rig rig(folder_, {.canary = {.share = 1, .completions = 1000000, .time_max_ms = 3e6}});
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy));
  rig.play(3s, busy);
  const auto bare = rig.next();
  rig.play(2s, busy);
  EXPECT_EQ(rig.answered(bare), (std::map<std::uint32_t, std::uint32_t>{{1, 8}}));
  for (request_id id = 100000; id < 100020; ++id) {
    rig.nodes[0]->send(id, "assistant@0");
    rig.head.system.pass(50ms);
    EXPECT_EQ(rig.nodes[0]->answers[id].finished, 1u);
    EXPECT_EQ(rig.nodes[0]->answers[id].version, 0u);
  }
  rig.nodes[1]->send(100020, "assistant@1");
  rig.head.system.pass(50ms);
  EXPECT_EQ(rig.nodes[1]->answers[100020].version, 1u) << "and by its number anybody may ask it";
}

TEST_F(canary, is_not_judged_by_who_names_it) {
  canary_rig rig(folder_, {.canary = {.share = 0, .completions = 15, .time_max_ms = 20000}});
  rig.gives = [&](const std::string& digest) {
    if (is_candidate(digest)) rig.head.system.compute(15ms);  // promised: 10 ms a token
    return true;
  };
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy));
  rig.play(3s, busy);
  for (request_id id = 100000; id < 100020; ++id) {
    rig.nodes[id % 2]->send(id, "assistant@1");
    rig.head.system.pass(100ms);
    EXPECT_EQ(rig.nodes[id % 2]->answers[id].version, 1u);
  }
  ASSERT_TRUE(rig.play_until(1, RoundState::SERVING, busy)) << reason(rig);
  EXPECT_NE(reason(rig).find("no request met it in time"), std::string::npos) << reason(rig);
}

TEST_F(canary, that_answers_late_is_rolled_back_and_the_next_round_starts_from_what_serves) {
  canary_rig rig(folder_, {.canary = {.share = 0.5, .completions = 15, .time_max_ms = 60000}});
  rig.gives = [&](const std::string& digest) {
    if (is_candidate(digest)) rig.head.system.compute(15ms);  // promised: 10 ms a token
    return true;
  };
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::REJECTED, busy));
  EXPECT_NE(reason(rig).find("canary: more bad answers than the serving version (1"),
            std::string::npos)
      << reason(rig);
  rig.play(3s, busy);
  EXPECT_EQ(rig.head.versions()[1], VersionState::ROLLED_BACK);
  EXPECT_EQ(rig.head.versions()[0], VersionState::SERVING);
  const auto since = rig.next();
  rig.play(2s, busy);
  EXPECT_EQ(rig.answered(since), (std::map<std::uint32_t, std::uint32_t>{{0, 8}}));
  for (const auto& n : rig.nodes)
    EXPECT_EQ(n->resident(), (std::map<std::uint32_t, VersionState>{{0, VersionState::SERVING}}));
  rig.play(5s, busy);
  ASSERT_TRUE(rig.head.state_of(2));
  EXPECT_EQ(rig.head.round(2).read()->getParent(), 0u);
  ASSERT_EQ(rig.head.shadows[0]->round, 2u);
  EXPECT_FALSE(rig.head.shadows[0]->kept_moments);
  all_were_answered(rig);
}

TEST_F(canary, whose_answers_do_not_end_is_rolled_back) {
  canary_rig rig(folder_, {.canary = {.share = 0.5, .completions = 15, .time_max_ms = 60000}});
  rig.stalls = is_candidate;
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy));
  const auto began = rig.head.system.now();
  ASSERT_TRUE(rig.play_until(1, RoundState::REJECTED, busy));
  EXPECT_LT(rig.head.system.now() - began, 30s) << "two a second are late after two seconds";
  EXPECT_NE(reason(rig).find("canary: more bad answers than the serving version (1"),
            std::string::npos)
      << reason(rig);
  rig.stalls = [](const std::string&) { return false; };
  rig.play(3s, busy);
  EXPECT_EQ(rig.head.versions()[1], VersionState::ROLLED_BACK);
  all_were_answered(rig);
}

/// What telemetry takes from bridges: promised are 2 s to the first token and 10 ms a token.
TEST_F(canary, is_told_of_answers_that_run_beyond_their_promise) {
  canary_rig rig(folder_);
  auto& node = *rig.nodes[0];
  const auto tell = [&](std::uint64_t key, double first_ms = -1, std::uint32_t tokens_left = 0,
                        bool computed = false) {
    actors::request_began r;
    r.key = key;
    r.adapter = "assistant";
    r.first_ms = first_ms;
    r.tokens_left_max = tokens_left;
    r.computed = computed;
    caf::anon_send(node.telemetry, r);
  };
  for (const std::uint64_t key : {1, 2, 3, 4, 5}) tell(key);
  tell(2, 1900, 10000);
  tell(3, 100, 100);
  tell(4, 100, 100, true);  // its reader is slow
  tell(5, 2500, 10000);
  const auto late = [&] {
    rig.head.system.pass(1s);  // the snapshot is of the last slot
    const auto s =
        rig.head.system.ask<msg<schema::Snapshot>>(node.telemetry, actors::list_atom::value);
    const auto read = s.read();
    EXPECT_EQ(read->getTraffic().size(), 1u);
    return std::pair(read->getTraffic()[0].getLate(), read->getTraffic()[0].getOpen());
  };
  EXPECT_EQ(late(), std::pair(0.0, 5.0));
  rig.head.system.pass(1s);
  EXPECT_EQ(late(), std::pair(3.0, 5.0)) << "no token; all tokens would be there; a late first one";
  actors::request_outcome ended;
  ended.how = actors::request_outcome::kind::cancelled;
  ended.key = 1;
  caf::anon_send(node.telemetry, ended);
  EXPECT_EQ(late(), std::pair(2.0, 4.0));
}

TEST_F(canary, whose_logits_are_not_finite_is_rolled_back_at_once) {
  canary_rig rig(folder_, {.canary = {.share = 0.5, .completions = 1000000, .time_max_ms = 3e6}});
  rig.gives = [](const std::string& digest) { return !is_candidate(digest); };
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy));
  const auto began = rig.head.system.now();
  ASSERT_TRUE(rig.play_until(1, RoundState::REJECTED, busy));
  EXPECT_LT(rig.head.system.now() - began, 6s);
  EXPECT_NE(reason(rig).find("canary: logits are not finite"), std::string::npos) << reason(rig);
  rig.play(2s, busy);
  EXPECT_EQ(rig.head.versions()[1], VersionState::ROLLED_BACK);
  const auto since = rig.next();
  rig.play(2s, busy);
  EXPECT_EQ(rig.answered(since), (std::map<std::uint32_t, std::uint32_t>{{0, 8}}));
}

TEST_F(canary, with_a_larger_cross_entropy_on_the_reference_sets_is_rolled_back) {
  canary_rig rig(folder_);
  for (const auto& s : rig.head.shadows)
    s->entropy = [](std::uint32_t i) { return 1.5 + 0.01 * (i % 5); };
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::REJECTED, busy));
  EXPECT_NE(reason(rig).find("canary: a larger cross entropy than the serving version"),
            std::string::npos)
      << reason(rig);
  rig.play(2s, busy);
  EXPECT_EQ(rig.head.versions()[1], VersionState::ROLLED_BACK);
}

TEST_F(canary, that_a_site_cannot_run_is_rolled_back) {
  canary_rig rig(folder_, {.canary = {.share = 0.5, .completions = 1000000, .time_max_ms = 3e6}});
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::GATE, busy));
  rig.head.shadows[1]->canary_samples = 0;  // it has told its share of the gate by then
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, 50ms));
  rig.head.shadows[0]->fails = "the candidate does not load";
  ASSERT_TRUE(rig.play_until(1, RoundState::REJECTED, busy));
  EXPECT_NE(reason(rig).find("canary: kitchen: the candidate does not load"), std::string::npos)
      << reason(rig);
}

TEST_F(canary, is_left_out_where_there_is_too_little_traffic) {
  canary_rig rig(folder_);
  rig.play(60s, 1500ms);
  rig.start_head();
  ASSERT_TRUE(rig.play_until(1, RoundState::SERVING, 1500ms));
  EXPECT_TRUE(rig.head.events("version_canary").empty());
  ASSERT_EQ(rig.head.events("canary_left_out").size(), 1u);
  EXPECT_NE(rig.head.events("canary_left_out")[0].find("a canary needs 60"), std::string::npos);
  EXPECT_EQ(reason(rig).find("canary"), std::string::npos) << "the gate's words: " << reason(rig);
}

TEST_F(canary, is_left_out_where_the_manifest_asks_for_none) {
  canary_rig rig(folder_, {.asked_for = false});
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::SERVING, busy));
  EXPECT_TRUE(rig.head.events("version_canary").empty());
}

TEST_F(canary, ends_when_its_longest_time_is_over_though_few_answers_came) {
  canary_rig rig(folder_, {.canary = {.share = 0.5, .completions = 100000, .time_max_ms = 20000}});
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy));
  const auto began = rig.head.system.now();
  ASSERT_TRUE(rig.play_until(1, RoundState::SERVING, busy));
  EXPECT_GE(rig.head.system.now() - began, 19s);
  EXPECT_LT(rig.head.system.now() - began, 23s);
  EXPECT_NE(reason(rig).find("though fewer answers than 100000 came in time"), std::string::npos)
      << reason(rig);
}

TEST_F(canary, goes_on_at_the_sites_while_its_head_is_away_and_is_judged_anew_when_it_is_back) {
  canary_rig rig(folder_, {.canary = {.share = 0.5, .completions = 40, .time_max_ms = 60000}});
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy));
  rig.play(3s, busy);
  rig.stop_head();
  const auto since = rig.next();
  rig.play(30s, busy);
  auto answered = rig.answered(since);
  EXPECT_EQ(answered[0] + answered[1], 120u) << "no client notices";
  EXPECT_GT(answered[1], 40u) << "and the canary goes on";
  rig.start_head();
  EXPECT_EQ(rig.head.state_of(1), RoundState::CANARY);
  const auto back = rig.head.system.now();
  ASSERT_TRUE(rig.play_until(1, RoundState::SERVING, busy));
  EXPECT_GT(rig.head.system.now() - back, 15s) << "40 answers of its own: half of four a second";
  EXPECT_EQ(rig.head.versions()[1], VersionState::SERVING);
  EXPECT_EQ(rig.head.versions().size(), 2u);
  all_were_answered(rig);
}

TEST_F(canary, whose_head_dies_at_any_durable_call_serves_once) {
  const canary_rig_options quick = {
      .canary = {.share = 0.5, .completions = 4, .time_max_ms = 60000}};
  testing_support::power calm;
  int first = 0;
  {
    canary_rig rig(folder_ / "calm", quick);
    rig.play(30s, busy);
    rig.start_head(calm);
    ASSERT_TRUE(rig.play_until(1, RoundState::GATE, busy));
    first = calm.calls();
    ASSERT_TRUE(rig.play_until(1, RoundState::SERVING, busy));
  }
  ASSERT_GE(calm.calls() - first, 5) << "verdict, passed, canary twice, its end, promotion";
  std::set<RoundState> died_in;
  int between = 0;
  for (int n = first; n < calm.calls(); ++n) {
    canary_rig rig(folder_ / std::to_string(n), quick);
    rig.play(30s, busy);
    testing_support::power weak{.left = n};
    rig.start_head(weak);
    for (int slot = 0; slot < 240 && !weak.gone; ++slot) rig.play(busy, busy);
    ASSERT_TRUE(weak.gone) << n;
    if (const auto s = rig.head.state_of(1)) died_in.insert(*s);
    rig.stop_head();
    rig.play(3s, busy);
    rig.start_head();
    if (rig.head.versions()[1] == VersionState::CANARY &&
        rig.head.state_of(1) == RoundState::GATE) {
      ++between;  // it answers already, and the journal does not say so
      ASSERT_TRUE(rig.head.wait_for(1, RoundState::SERVING)) << "without a request";
      EXPECT_NE(reason(rig).find("canary: "), std::string::npos)
          << "it is watched: " << reason(rig);
    }
    ASSERT_TRUE(rig.play_until(1, RoundState::SERVING, busy)) << n;
    EXPECT_EQ(rig.head.versions()[1], VersionState::SERVING) << n;
    EXPECT_EQ(rig.head.versions()[0], VersionState::DRAINING) << n;
    all_were_answered(rig);
  }
  EXPECT_TRUE(died_in.contains(RoundState::CANARY));
  EXPECT_GT(between, 0);
}

TEST_F(canary, waits_for_a_whole_minute_of_counts_before_it_is_left_out) {
  canary_rig rig(folder_);
  rig.start_head();  // together with its nodes
  rig.play(20s, 2s);
  ASSERT_EQ(rig.head.state_of(1), RoundState::GATE);
  EXPECT_TRUE(rig.head.events("canary_left_out").empty());
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy)) << "now there are enough";
}

TEST_F(canary, that_an_operator_promotes_before_it_begins_serves_and_so_says_its_round) {
  canary_rig rig(folder_);
  rig.start_head();
  rig.head.system.pass(20s);
  ASSERT_EQ(rig.head.state_of(1), RoundState::GATE);
  ASSERT_EQ(rig.head.versions()[1], VersionState::CANDIDATE);
  using answer = actors::reply<msg<schema::VersionRecord>>;
  ASSERT_TRUE(*rig.head.system.ask<answer>(rig.head.registry, actors::promote_atom::value,
                                           version_id{"assistant", 1}));
  rig.head.system.pass(2s);
  EXPECT_EQ(rig.head.state_of(1), RoundState::SERVING);
  EXPECT_NE(reason(rig).find("promoted by an operator"), std::string::npos) << reason(rig);
  EXPECT_EQ(rig.head.versions()[1], VersionState::SERVING);
}

/// Between the registry's list that the aggregator knows and its word to the registry.
TEST_F(canary, that_an_operator_promotes_as_it_begins_serves_and_so_says_its_round) {
  canary_rig rig(folder_);
  auto& system = rig.head.system;
  rig.play(30s, busy);
  system.pass(400ms);  // its slots lie between those of the shadows
  rig.start_head();
  for (auto& s : rig.head.shadows) s->evaluates = false;
  ASSERT_TRUE(rig.play_until(1, RoundState::GATE, busy));
  rig.play(5s, busy);
  rig.head.pass_until_shadows_are_next();
  for (auto& s : rig.head.shadows) s->evaluates = true;
  using answer = actors::reply<msg<schema::VersionRecord>>;
  ASSERT_TRUE(*system.ask<answer>(rig.head.registry, actors::promote_atom::value,
                                  version_id{"assistant", 1}));
  ASSERT_EQ(rig.head.state_of(1), RoundState::GATE);
  system.pass(200ms);  // the last scores come; the next list is asked for later
  EXPECT_EQ(rig.head.state_of(1), RoundState::SERVING);
  EXPECT_NE(reason(rig).find("canary: promoted by an operator"), std::string::npos) << reason(rig);
  EXPECT_TRUE(rig.head.events("version_canary").empty());
  EXPECT_EQ(rig.head.versions()[1], VersionState::SERVING);
}

TEST_F(canary, that_an_operator_pushes_aside_is_rolled_back) {
  canary_rig rig(folder_, {.canary = {.share = 0.5, .completions = 1000000, .time_max_ms = 3e6}});
  warm(rig);
  ASSERT_TRUE(rig.play_until(1, RoundState::CANARY, busy));
  caf::anon_send(rig.head.registry, msg<schema::Register>::build([](schema::Register::Builder b) {
                   b.setAdapter("assistant");
                   b.setDigest("by hand");
                   b.setBaseDigest("base");
                 }));
  ASSERT_TRUE(rig.play_until(1, RoundState::REJECTED, busy));
  EXPECT_NE(reason(rig).find("version 2 was put in place of 0"), std::string::npos) << reason(rig);
  rig.play(2s, busy);
  EXPECT_EQ(rig.head.versions()[1], VersionState::ROLLED_BACK);
  EXPECT_EQ(rig.head.versions()[2], VersionState::SERVING);
}

}  // namespace
}  // namespace collm
