#include <gtest/gtest.h>

#include <random>
#include <set>

#include "federation/round_sequence.hpp"
#include "federation/training_round.hpp"

namespace collm::federation {
namespace {

round_setup setup(std::uint32_t quorum = 2) {
  round_setup s;
  s.adapter = "assistant";
  s.round = 7;
  s.parent = 3;
  s.parent_digest = "parent";
  s.serving = 3;
  s.trained = trained_factors::b_only;
  s.quorum = quorum;
  s.deadline_ms = 60000;
  s.participants = {{"edge-a/0", 6}, {"edge b:1,%=", 4}, {"edge-c/0", 6}};
  return s;
}

update_arrived update_of(const std::string& client, std::int64_t tokens = 100) {
  return {.client = client,
          .task_round = 7,
          .attempt = 1,
          .digest = "digest of " + client,
          .tokens = tokens,
          .norm = 0.5};
}

/// A round with its journal, driven as the aggregator does.
struct journalled {
  std::vector<round_record> journal;
  training_round round;

  explicit journalled(const round_setup& s = setup(), double now = 1000) {
    auto first = training_round::open(s, now);
    EXPECT_TRUE(first) << (first ? "" : first.failure().message);
    journal = {*first};
    round = *training_round::replay(journal);
  }
  round_decision tell(const round_event& e, double now = 2000) {
    auto d = round.decide(e, now);
    for (const auto& r : d.records) {
      journal.push_back(r);
      EXPECT_TRUE(round.apply(r));
    }
    return d;
  }
  training_round replayed(std::size_t records) const {
    auto r = training_round::replay(std::span(journal).first(records));
    EXPECT_TRUE(r) << (r ? "" : r.failure().message);
    return *r;
  }
};

void answer_all(journalled& j) {
  j.tell(tasks_sent{});
  for (const auto& p : j.round.setup().participants) {
    j.tell(client_began{p.client, 1});
    j.tell(upload_began{p.client, 1});
    j.tell(update_of(p.client));
  }
}

/// The event that follows from the first action that is due; what the aggregator does with it.
std::optional<round_event> done(const round_action& a) {
  switch (a.kind) {
    case action_kind::offer:
      return update_of(a.client);
    case action_kind::sum:
      return sum_stored{"sum"};
    case action_kind::register_sum:
      return version_registered{8};
    case action_kind::begin_gate:
      return gate_began{};
    case action_kind::judge:
      return gate_judged{gate_outcome::promote, "better"};
    case action_kind::begin_canary:
      return canary_began{};
    case action_kind::watch_canary:
      return canary_ended{true, "no worse"};
    case action_kind::promote:
      return version_promoted{};
    case action_kind::withdraw:
      return std::nullopt;
  }
  return std::nullopt;
}

/// Clients go on by themselves, then the head does what is due.
void drive_to_end(journalled& j) {
  for (const auto& p : j.round.setup().participants)
    if (j.round.state() <= round_state::uploading) j.tell(update_of(p.client));
  j.tell(time_passed{});
  while (!j.round.due().empty()) {
    const auto next = done(j.round.due().front());
    if (!next) break;
    ASSERT_FALSE(j.tell(*next).refusal);
  }
}

TEST(training_round, goes_from_opened_to_serving) {
  auto s = setup();
  s.canary = true;
  journalled j(s);
  std::vector<std::string> states;
  const auto note = [&] { states.emplace_back(to_string(j.round.state())); };
  note();
  j.tell(tasks_sent{});
  note();
  j.tell(client_began{"edge-a/0", 1});
  note();
  j.tell(upload_began{"edge-a/0", 1});
  note();
  for (const auto& p : s.participants) j.tell(update_of(p.client));
  note();
  while (!j.round.due().empty()) {
    j.tell(*done(j.round.due().front()));
    if (states.back() != to_string(j.round.state())) note();
  }
  EXPECT_EQ(states,
            (std::vector<std::string>{"opened", "assigned", "training", "uploading", "closed",
                                      "summed", "candidate", "gate", "canary", "serving"}));
  EXPECT_EQ(j.round.version(), 8u);
  EXPECT_EQ(j.round.median_norm(), 0.5);
}

TEST(training_round, every_prefix_of_the_journal_replays_to_the_same_round_and_the_same_end) {
  auto s = setup();
  s.canary = true;
  journalled j(s);
  std::vector<training_round> states = {j.round};
  const auto step = [&](const round_event& e) {
    auto d = j.round.decide(e, 2000);
    for (const auto& r : d.records) {
      j.journal.push_back(r);
      ASSERT_TRUE(j.round.apply(r));
      states.push_back(j.round);
    }
  };
  step(tasks_sent{});
  for (const auto& p : s.participants) {
    step(client_began{p.client, 1});
    step(upload_began{p.client, 1});
    step(update_of(p.client));
  }
  while (!j.round.due().empty()) step(*done(j.round.due().front()));

  ASSERT_EQ(states.size(), j.journal.size());
  for (std::size_t n = 1; n <= j.journal.size(); ++n) {
    journalled again(s);
    again.journal.assign(j.journal.begin(), j.journal.begin() + static_cast<std::ptrdiff_t>(n));
    again.round = j.replayed(n);
    EXPECT_TRUE(again.round == states[n - 1]) << n;
    again.tell(head_returned{}, 5000);
    drive_to_end(again);
    EXPECT_EQ(again.round.state(), round_state::serving) << n;
    EXPECT_EQ(again.round.accepted().size(), 3u) << n;
    EXPECT_EQ(again.round.sum_digest(), "sum");
  }
}

TEST(training_round, text_of_every_record_reads_back_equal) {
  auto s = setup();
  s.canary = s.fedbuff = true;
  s.median_norm = 1.0 / 3;
  s.quorum = 3;
  journalled j(s);
  answer_all(j);
  drive_to_end(j);
  for (const auto& r : j.journal) {
    const auto back = record_of(to_text(r));
    ASSERT_TRUE(back) << to_text(r) << ": " << back.failure().message;
    EXPECT_TRUE(*back == r) << to_text(r);
  }
}

TEST(training_round, a_promotion_that_the_registry_refuses_rejects_the_round) {
  journalled j;
  answer_all(j);
  j.tell(sum_stored{"sum", 0.25});
  EXPECT_EQ(j.round.aggregation_error(), 0.25);
  j.tell(version_registered{4});
  j.tell(gate_began{});
  EXPECT_TRUE(j.tell(promotion_refused{"too early"}).refusal);
  j.tell(gate_judged{gate_outcome::promote, "better", "verdict"});
  EXPECT_EQ(j.round.verdict_digest(), "verdict");
  j.tell(promotion_refused{"another one serves"});
  EXPECT_EQ(j.round.state(), round_state::rejected);
  EXPECT_FALSE(j.round.undecided());
  EXPECT_EQ(j.round.reason(), "another one serves");
  EXPECT_EQ(j.round.verdict_digest(), "verdict") << "what the gate said stays";
  EXPECT_TRUE(j.replayed(j.journal.size()) == j.round);
}

TEST(training_round, a_sum_that_is_no_new_version_makes_it_void) {
  journalled j;
  answer_all(j);
  j.tell(sum_stored{"sum"});
  EXPECT_EQ(j.round.state(), round_state::summed);
  EXPECT_EQ(j.round.aggregation_error(), -1);
  j.tell(sum_failed{"nothing was learnt"});
  EXPECT_EQ(j.round.state(), round_state::voided);
  EXPECT_TRUE(j.replayed(j.journal.size()) == j.round);
}

TEST(training_round, keeps_a_clients_own_ranks_and_why_it_was_refused) {
  journalled j;
  auto u = update_of("edge-a/0");
  u.ranks = {4, 2, 8};
  j.tell(u);
  j.tell(update_was_wrong{"edge b:1,%=", 1, "value 3 is not finite"});
  EXPECT_EQ(j.round.accepted()[0].ranks, u.ranks);
  EXPECT_EQ(j.round.reason_of("edge b:1,%="), "value 3 is not finite");
  EXPECT_EQ(j.round.reason_of("edge-a/0"), "");
  for (const auto& r : j.journal) {
    const auto back = record_of(to_text(r));
    ASSERT_TRUE(back) << to_text(r);
    EXPECT_TRUE(*back == r) << to_text(r);
  }
  EXPECT_FALSE(record_of("accepted client=a ranks=4,x"));
  EXPECT_TRUE(j.replayed(j.journal.size()) == j.round);
}

TEST(training_round, a_damaged_record_is_named) {
  for (const std::string bad :
       {"", "nonsense", "opened trained=all", "accepted tokens=1x", "accepted at",
        "summed digest=%4", "assigned at=1 at=2", "assigned colour=red", "assigned at=nan",
        "opened trained=both participants=a"}) {
    const auto r = record_of(bad);
    ASSERT_FALSE(r) << bad;
    EXPECT_EQ(r.failure().code, errc::corrupt);
  }
  journalled j;
  const std::vector<round_record> misplaced = {j.journal[0], {.kind = record_kind::summed}};
  EXPECT_FALSE(training_round::replay(misplaced));
  const std::vector<round_record> headless = {{.kind = record_kind::assigned}};
  EXPECT_FALSE(training_round::replay(headless));
  EXPECT_FALSE(training_round::replay({}));
}

TEST(training_round, closes_when_all_answered_and_counts_who_has_nothing_to_train_on) {
  journalled j;
  j.tell(update_of("edge-a/0"));
  j.tell(client_declined{"edge b:1,%=", "no data"});
  EXPECT_EQ(j.round.state(), round_state::uploading);
  j.tell(update_of("edge-c/0"));
  EXPECT_EQ(j.round.state(), round_state::closed);
}

TEST(training_round, is_void_below_its_quorum_and_an_update_without_tokens_does_not_reach_it) {
  journalled j;
  j.tell(update_of("edge-a/0"));
  j.tell(update_of("edge-c/0", 0));
  j.tell(client_declined{"edge b:1,%=", "no data"});
  EXPECT_EQ(j.round.state(), round_state::voided);
  EXPECT_TRUE(j.round.due().empty());
}

TEST(training_round, closes_at_the_deadline_without_its_stragglers) {
  journalled j;
  j.tell(update_of("edge-a/0"));
  j.tell(update_of("edge-c/0"));
  j.tell(time_passed{}, 60999);
  EXPECT_EQ(j.round.state(), round_state::uploading);
  j.tell(time_passed{}, 61000);
  EXPECT_EQ(j.round.state(), round_state::closed);
  EXPECT_TRUE(j.tell(update_of("edge b:1,%=")).refusal);
  journalled k;
  k.tell(update_of("edge-a/0"));
  k.tell(time_passed{}, 61000);
  EXPECT_EQ(k.round.state(), round_state::voided);
}

TEST(training_round, time_without_a_head_does_not_count) {
  journalled j;
  j.tell(update_of("edge-a/0"), 11000);
  j.tell(head_returned{}, 611000);  // ten minutes away
  EXPECT_EQ(j.round.deadline_at_ms(), 661000);
  j.tell(time_passed{}, 611000);
  EXPECT_EQ(j.round.state(), round_state::uploading);
}

TEST(training_round, an_update_counts_once_whatever_is_sent_again) {
  journalled j;
  EXPECT_FALSE(j.tell(update_of("edge-a/0")).repeated);
  const auto records = j.journal.size();
  EXPECT_TRUE(j.tell(update_of("edge-a/0")).repeated);
  auto other = update_of("edge-a/0");
  other.attempt = 2;
  other.digest = "another";
  EXPECT_EQ(j.tell(other).refusal->code, errc::conflict);
  EXPECT_EQ(j.journal.size(), records);
  EXPECT_EQ(j.round.accepted().size(), 1u);
  auto twice = j.journal;
  twice.push_back(twice.back());
  EXPECT_FALSE(training_round::replay(twice));
}

TEST(training_round, refuses_strangers_and_other_rounds) {
  journalled j;
  EXPECT_EQ(j.tell(update_of("stranger")).refusal->code, errc::forbidden);
  auto older = update_of("edge-a/0");
  older.task_round = 6;
  EXPECT_EQ(j.tell(older).refusal->code, errc::conflict);
  EXPECT_EQ(j.journal.size(), 1u);
}

TEST(training_round, a_refused_client_may_try_again_until_the_round_closes) {
  journalled j;
  j.tell(update_was_wrong{"edge-a/0", 1, "value 3 is not finite"});
  EXPECT_EQ(j.round.participants().at("edge-a/0"), participant_state::refused);
  EXPECT_TRUE(j.round.accepted().empty());
  j.tell(update_of("edge-a/0"));
  EXPECT_EQ(j.round.participants().at("edge-a/0"), participant_state::accepted);
}

TEST(training_round, a_wish_to_close_needs_the_quorum) {
  journalled j;
  j.tell(update_of("edge-a/0"));
  EXPECT_TRUE(j.tell(close_now{"operator"}).refusal);
  j.tell(update_of("edge-c/0"));
  EXPECT_FALSE(j.tell(close_now{"operator"}).refusal);
  EXPECT_EQ(j.round.reason(), "operator");
}

TEST(training_round, fedbuff_closes_at_its_quorum_and_takes_late_updates_once) {
  auto s = setup();
  s.fedbuff = true;
  journalled j(s);
  j.round.know_counted({{"edge-c/0", 6}});
  auto late = update_of("edge-a/0");
  late.task_round = 6;
  late.staleness = 1;
  EXPECT_FALSE(j.tell(late).refusal);
  EXPECT_EQ(j.round.participants().at("edge-a/0"), participant_state::offered);
  auto counted = update_of("edge-c/0");
  counted.task_round = 6;
  EXPECT_TRUE(j.tell(counted).repeated);
  j.tell(update_of("edge-a/0"));
  EXPECT_EQ(j.round.state(), round_state::closed);
  EXPECT_EQ(j.round.accepted().size(), 2u);
}

TEST(training_round, the_gate_rejects_and_the_canary_rolls_back) {
  for (const bool undecided : {false, true}) {
    journalled j;
    answer_all(j);
    j.tell(sum_stored{"sum"});
    j.tell(version_registered{8});
    j.tell(gate_began{});
    j.tell(gate_judged{undecided ? gate_outcome::undecided : gate_outcome::reject, "why"});
    EXPECT_EQ(j.round.state(), round_state::rejected);
    EXPECT_EQ(j.round.undecided(), undecided);
    EXPECT_EQ(j.round.reason(), "why");
    EXPECT_EQ(j.round.due().front().kind, action_kind::withdraw);
    EXPECT_TRUE(j.tell(version_promoted{}).refusal);
  }
  auto s = setup();
  s.canary = true;
  journalled k(s);
  answer_all(k);
  for (int i = 0; i < 5; ++i) k.tell(*done(k.round.due().front()));
  ASSERT_EQ(k.round.state(), round_state::canary);
  EXPECT_TRUE(k.tell(version_promoted{}).refusal);
  k.tell(canary_ended{false, "more bad answers"});
  EXPECT_EQ(k.round.state(), round_state::rejected);
}

TEST(training_round, too_little_traffic_passes_the_canary_by) {
  auto s = setup();
  s.canary = true;
  journalled k(s);
  answer_all(k);
  for (int i = 0; i < 4; ++i) k.tell(*done(k.round.due().front()));
  EXPECT_EQ(k.round.due().front().kind, action_kind::begin_canary);
  k.tell(canary_ended{true, "below 1 request/s"});
  EXPECT_EQ(k.round.due().front().kind, action_kind::promote);
}

TEST(training_round, a_sum_that_cannot_be_made_voids_the_round) {
  journalled j;
  answer_all(j);
  j.tell(sum_failed{"blob 12ab is damaged"});
  EXPECT_EQ(j.round.state(), round_state::voided);
  EXPECT_EQ(j.round.reason(), "blob 12ab is damaged");
}

TEST(training_round, cannot_open_what_cannot_close) {
  auto s = setup(4);
  EXPECT_FALSE(training_round::open(s, 0));
  s = setup();
  s.participants.push_back(s.participants[0]);
  EXPECT_FALSE(training_round::open(s, 0));
  s.participants.clear();
  EXPECT_FALSE(training_round::open(s, 0));
  s = setup();
  s.deadline_ms = 0;
  EXPECT_FALSE(training_round::open(s, 0));
}

TEST(training_round, who_declined_or_was_refused_does_not_begin_again) {
  journalled j(setup());
  j.tell(tasks_sent{});
  j.tell(client_declined{"edge-a/0", "no data"});
  j.tell(update_was_wrong{"edge b:1,%=", 1, "bad"});
  for (const std::string client : {"edge-a/0", "edge b:1,%="}) {
    EXPECT_TRUE(j.tell(client_began{client, 1}).repeated) << client;
    EXPECT_TRUE(j.tell(upload_began{client, 1}).repeated) << client;
  }
}

/// Any events in any order, with crashes in between: what the journal says is what is.
TEST(training_round, random_events_and_crashes_never_part_it_from_its_journal) {
  std::mt19937_64 rng(77);
  const std::vector<std::string> clients = {"edge-a/0", "edge b:1,%=", "edge-c/0", "stranger"};
  const auto pick = [&](int n) { return static_cast<int>(rng() % static_cast<unsigned>(n)); };
  int serving = 0, rejected = 0, voided = 0;
  for (int run = 0; run < 400; ++run) {
    auto s = setup();
    s.canary = pick(2) == 0;
    s.fedbuff = pick(3) == 0;
    journalled j(s);
    double now = 1000;
    for (int i = 0; i < 200; ++i) {
      now += pick(1500);
      const auto& c = clients[static_cast<std::size_t>(pick(4))];
      const std::vector<round_event> events = {
          tasks_sent{},
          client_began{c, 1},
          upload_began{c, 1},
          update_of(c, pick(3) * 50),
          update_of(c, 50),
          update_was_wrong{c, 1, "bad"},
          client_declined{c, "none"},
          time_passed{},
          close_now{"who"},
          sum_stored{"sum"},
          version_registered{8},
          gate_began{},
          gate_judged{static_cast<gate_outcome>(pick(3)), "gate"},
          canary_began{},
          canary_ended{pick(2) == 0, "canary"},
          version_promoted{},
          head_returned{}};
      const auto d = j.tell(events[static_cast<std::size_t>(pick(17))], now);
      ASSERT_FALSE(d.refusal && !d.records.empty());
      if (pick(10) == 0) {
        auto back = j.replayed(j.journal.size());
        ASSERT_TRUE(back == j.round);
        j.round = back;
      }
    }
    std::set<std::string> seen;
    for (const auto& u : j.round.accepted()) EXPECT_TRUE(seen.insert(u.client).second);
    if (j.round.state() >= round_state::summed) {
      EXPECT_GE(j.round.updates_with_tokens(), s.quorum);
    }
    serving += j.round.state() == round_state::serving ? 1 : 0;
    rejected += j.round.state() == round_state::rejected ? 1 : 0;
    voided += j.round.state() == round_state::voided ? 1 : 0;
  }
  EXPECT_GT(serving, 20);
  EXPECT_GT(rejected, 20);
  EXPECT_GT(voided, 5);
}

TEST(round_sequence, phases_take_turns_once_b_has_moved) {
  const strategy s;
  using enum round_state;
  std::vector<round_outcome> h;
  EXPECT_EQ(plan_next(s, h, 0).round, 1u);
  h.push_back({1, rejected, false, 0, 1});
  EXPECT_EQ(plan_next(s, h, 0).phase, 0u);
  EXPECT_FALSE(plan_next(s, h, 0).keep_moments);
  h.push_back({2, voided, false, 0, 0});
  h.push_back({3, serving, false, 0, 2});
  EXPECT_EQ(plan_next(s, h, 2).phase, 1u);
  EXPECT_EQ(plan_next(s, h, 2).parent, 2u);
  EXPECT_TRUE(plan_next(s, h, 2).keep_moments);
  h.push_back({4, rejected, false, 2, 3});
  EXPECT_EQ(plan_next(s, h, 2).phase, 2u);
  EXPECT_EQ(plan_next(s, h, 2).round, 5u);
  const strategy slow{.phase_rounds = 2};
  EXPECT_EQ(plan_next(slow, h, 2).phase, 1u);
}

TEST(round_sequence, goes_on_from_undecided_candidates_three_times_in_a_row) {
  const strategy s;
  using enum round_state;
  std::vector<round_outcome> h;
  for (std::uint32_t n = 1; n <= 3; ++n) {
    h.push_back({n, rejected, true, 0, n});
    EXPECT_EQ(plan_next(s, h, 0).parent, n);
    EXPECT_TRUE(plan_next(s, h, 0).keep_moments);
    h.push_back({n, voided, false, 0, 0});
    EXPECT_EQ(plan_next(s, h, 0).parent, n);
  }
  h.push_back({4, rejected, true, 0, 4});
  EXPECT_EQ(plan_next(s, h, 0).parent, 0u);
  EXPECT_FALSE(plan_next(s, h, 0).keep_moments);
}

TEST(round_sequence, an_operators_rollback_is_the_new_start) {
  const strategy s;
  const std::vector<round_outcome> h = {{1, round_state::rejected, true, 5, 6}};
  EXPECT_EQ(plan_next(s, h, 5).parent, 6u);
  EXPECT_EQ(plan_next(s, h, 4).parent, 4u);
}

}  // namespace
}  // namespace collm::federation
