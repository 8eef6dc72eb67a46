#include <gtest/gtest.h>

#include <limits>

#include "coordinator/canary_watch.hpp"
#include "coordinator/live_traffic.hpp"

namespace collm::coordinator {
namespace {

using quality = traffic_counter::quality;
const version_id serving{"assistant", 3}, canary{"assistant", 4};

version_traffic row(const version_id& id, std::uint64_t answers, std::uint64_t bad = 0,
                    std::uint64_t not_finite = 0, double rate = 0) {
  return {
      .id = id, .answers = answers, .bad = bad, .not_finite = not_finite, .requests_per_s = rate};
}

TEST(traffic_counter, counts_what_ended_by_version_and_how) {
  traffic_counter c;
  c.ended(serving, quality::good, 1000);
  c.ended(serving, quality::bad, 1500);
  c.ended(canary, quality::not_finite, 2000);
  const auto v = c.view(2000);
  ASSERT_EQ(v.size(), 2u);
  EXPECT_EQ(v[0].id, serving);
  EXPECT_EQ(v[0].answers, 2u);
  EXPECT_EQ(v[0].bad, 1u);
  EXPECT_EQ(v[0].not_finite, 0u);
  EXPECT_EQ(v[1].bad, 1u) << "what is not finite is bad, too";
  EXPECT_EQ(v[1].not_finite, 1u);
}

TEST(traffic_counter, tells_the_mean_of_the_last_minute) {
  traffic_counter c;
  for (int s = 0; s < 120; ++s)
    for (int i = 0; i < 3; ++i) c.ended(serving, quality::good, 1000.0 * s);
  EXPECT_DOUBLE_EQ(c.view(119000)[0].requests_per_s, 3);
  EXPECT_DOUBLE_EQ(c.view(149000)[0].requests_per_s, 1.5);
  EXPECT_DOUBLE_EQ(c.view(179000)[0].requests_per_s, 0);
  EXPECT_DOUBLE_EQ(c.view(999000)[0].requests_per_s, 0);
  EXPECT_EQ(c.view(999000)[0].answers, 360u);
}

TEST(traffic_counter, knows_the_eight_versions_of_an_adapter_that_were_asked_for_last) {
  traffic_counter c;
  c.ended({"other", 0}, quality::good, 0);
  for (std::uint32_t n = 0; n < 20; ++n) {
    c.ended({"assistant", 0}, quality::good, 1000.0 * n);  // the oldest one, and it serves
    c.ended({"assistant", n}, quality::good, 1000.0 * n);
  }
  const auto v = c.view(20000);
  ASSERT_EQ(v.size(), 9u);
  EXPECT_EQ(v[0].id.number, 0u);
  EXPECT_EQ(v[0].answers, 21u);
  EXPECT_EQ(v[1].id.number, 13u);
  EXPECT_EQ(v.back().id.name, "other");
}

TEST(traffic_counter, forgets_adapters_that_nobody_asks_for) {
  traffic_counter c;
  for (std::uint32_t n = 0; n < 2000; ++n) {
    c.ended(serving, quality::good, 1000.0 * n);
    c.ended({"adapter " + std::to_string(n), 0}, quality::good, 1000.0 * n);
  }
  const auto v = c.view(2000000);
  EXPECT_EQ(v.size(), 512u);
  EXPECT_EQ(v.back().id, serving);
  EXPECT_EQ(v.back().answers, 2000u);
}

TEST(traffic_counter, tells_what_runs_and_what_of_it_is_beyond_its_promise) {
  traffic_counter c;
  c.ended(serving, quality::good, 1000);
  c.began(7, serving, 3000, 1000);
  c.began(8, canary, 3000, 1000);
  c.began(9, canary, 4000, 1000);
  auto v = c.view(3500);
  ASSERT_EQ(v.size(), 2u);
  EXPECT_EQ(v[0].open, 1u);
  EXPECT_EQ(v[0].late, 1u);
  EXPECT_EQ(v[1].open, 2u);
  EXPECT_EQ(v[1].late, 1u);
  EXPECT_EQ(v[1].answers, 0u) << "none has ended";
  c.began(8, canary, 9000, 3500);  // its first token came, and in time
  EXPECT_EQ(c.view(3600)[1].late, 0u);
  c.left(7);
  c.left(8);
  c.left(8);
  v = c.view(5000);
  EXPECT_EQ(v[0].open, 0u);
  EXPECT_EQ(v[0].late, 0u);
  EXPECT_EQ(v[1].open, 1u);
  EXPECT_EQ(v[1].late, 1u);
}

TEST(traffic_book, counts_from_its_mark_over_all_processes) {
  traffic_book b;
  b.heard("edge-a", "at edge-a", 1, {row(serving, 100, 7)}, 0);
  b.heard("edge-b", "at edge-b", 1, {row(serving, 50)}, 0);
  b.heard("edge-a", "at edge-a", 1, {row(serving, 110, 8)}, 500);
  b.mark(canary, serving);
  b.heard("edge-a", "at edge-a", 1, {row(serving, 113, 9), row(canary, 4, 1)}, 1000);
  b.heard("edge-b", "at edge-b", 1, {row(serving, 51), row(canary, 2)}, 1000);
  const auto c = b.traffic(canary, serving).all;
  EXPECT_EQ(c.count, 6u);
  EXPECT_EQ(c.bad, 1u);
  EXPECT_EQ(c.count_before, 4u);
  EXPECT_EQ(c.bad_before, 1u);
  EXPECT_FALSE(c.not_finite);
}

TEST(traffic_book, tells_what_each_sites_processes_counted) {
  traffic_book b;
  b.heard("edge-a", "kitchen", 1, {}, 0);
  b.heard("head for kitchen", "kitchen", 1, {}, 0);
  b.heard("edge-b", "workshop", 1, {}, 0);
  b.heard("edge-c", "office", 1, {}, 0);
  b.mark(canary, serving);
  b.heard("edge-a", "kitchen", 1, {row(serving, 9, 2), row(canary, 4, 1)}, 1000);
  b.heard("head for kitchen", "kitchen", 1, {row(canary, 2, 2)}, 1000);
  b.heard("edge-b", "workshop", 1, {row(serving, 7)}, 1000);
  b.heard("edge-b", "workshop", 2, {}, 2000);
  b.heard("edge-c", "office", 1, {}, 2000);
  const auto t = b.traffic(canary, serving);
  ASSERT_EQ(t.by_site.size(), 2u) << "the office has nothing to say";
  const auto& kitchen = t.by_site.at("kitchen");
  EXPECT_EQ(kitchen.count, 6u);
  EXPECT_EQ(kitchen.bad, 3u);
  EXPECT_EQ(kitchen.count_before, 9u);
  EXPECT_EQ(kitchen.bad_before, 2u);
  EXPECT_EQ(t.by_site.at("workshop").count_before, 7u);
  EXPECT_EQ(t.by_site.at("workshop").bad, 0u) << "it had none of the canary's answers";
  EXPECT_EQ(t.all.bad, 4u) << "and ended";
}

TEST(traffic_book, a_process_that_starts_again_adds_to_what_it_counted_before) {
  traffic_book b;
  b.heard("edge-a", "at edge-a", 1, {}, 0);
  b.mark(canary, serving);
  b.heard("edge-a", "at edge-a", 1, {row(canary, 5)}, 1000);
  b.heard("edge-a", "at edge-a", 2, {row(canary, 0)}, 2000);
  b.heard("edge-a", "at edge-a", 2, {row(canary, 3, 2)}, 3000);
  EXPECT_EQ(b.traffic(canary, serving).all.count, 9u);
  EXPECT_EQ(b.traffic(canary, serving).all.bad, 3u) << "that it ended speaks against the canary";
  b.mark(canary, serving);
  EXPECT_EQ(b.traffic(canary, serving).all.bad, 0u);
}

TEST(traffic_book, a_process_that_ends_takes_all_answers_of_the_canary_that_ran_with_it) {
  const auto open = [](const version_id& id, std::uint64_t answers, std::uint64_t running) {
    auto r = row(id, answers);
    r.open = running;
    return r;
  };
  traffic_book b;
  b.heard("edge-a", "at edge-a", 1, {}, 0);
  b.heard("edge-b", "at edge-b", 1, {}, 0);
  b.mark(canary, serving);
  b.heard("edge-a", "at edge-a", 1, {open(serving, 6, 5), open(canary, 4, 3)}, 1000);
  b.heard("edge-b", "at edge-b", 1, {open(serving, 6, 5)}, 1000);
  EXPECT_EQ(b.traffic(canary, serving).all.bad, 0u) << "they may end well";
  b.heard("edge-a", "at edge-a", 2, {}, 2000);
  auto c = b.traffic(canary, serving).all;
  EXPECT_EQ(c.count, 7u);
  EXPECT_EQ(c.bad, 3u);
  EXPECT_EQ(c.bad_before, 0u) << "what it brought down with it does not speak for it";
  b.heard("edge-b", "at edge-b", 2, {}, 2000);
  c = b.traffic(canary, serving).all;
  EXPECT_EQ(c.count, 8u);
  EXPECT_EQ(c.bad, 4u) << "an end without one that is known of counts, too";
}

TEST(traffic_book, what_runs_beyond_its_promise_is_bad_already) {
  const auto late = [](const version_id& id, std::uint64_t answers, std::uint64_t running) {
    auto r = row(id, answers);
    r.open = r.late = running;
    return r;
  };
  traffic_book b;
  b.heard("edge-a", "at edge-a", 1, {}, 0);
  b.mark(canary, serving);
  b.heard("edge-a", "at edge-a", 1, {late(serving, 20, 1), late(canary, 2, 6)}, 1000);
  auto c = b.traffic(canary, serving).all;
  EXPECT_EQ(c.count, 8u);
  EXPECT_EQ(c.bad, 6u);
  EXPECT_EQ(c.count_before, 21u);
  EXPECT_EQ(c.bad_before, 1u);
  b.heard("edge-a", "at edge-a", 1, {row(serving, 21, 1), row(canary, 8, 6)}, 2000);
  c = b.traffic(canary, serving).all;
  EXPECT_EQ(c.count, 8u) << "as they end they count once";
  EXPECT_EQ(c.bad, 6u);
}

TEST(traffic_book, counts_no_answer_twice_where_an_old_word_comes_late) {
  traffic_book b;
  b.heard("edge-a", "at edge-a", 1, {}, 0);
  b.mark(canary, serving);
  b.heard("edge-a", "at edge-a", 1, {row(canary, 5, 2)}, 1000);
  b.heard("edge-a", "at edge-a", 1, {row(canary, 3, 1)}, 1500);
  b.heard("edge-a", "at edge-a", 1, {row(canary, 6, 2)}, 2000);
  EXPECT_EQ(b.traffic(canary, serving).all.count, 6u);
  EXPECT_EQ(b.traffic(canary, serving).all.bad, 2u);
}

TEST(traffic_book, has_room_for_a_process_where_others_are_silent) {
  traffic_book b;
  for (std::uint32_t n = 0; n < 1024; ++n)
    b.heard("gone " + std::to_string(n), "kitchen", 1, {row(serving, 1)}, 0);
  b.heard("edge-a", "at edge-a", 1, {row(serving, 1, 0, 0, 2)}, 5000);
  EXPECT_DOUBLE_EQ(b.requests_per_s("assistant", 5000), 0) << "they may come back";
  b.heard("edge-a", "at edge-a", 1, {row(serving, 1, 0, 0, 2)}, 11000);
  EXPECT_DOUBLE_EQ(b.requests_per_s("assistant", 11000), 2);
}

TEST(traffic_book, remembers_what_was_not_finite) {
  traffic_book b;
  b.heard("edge-a", "at edge-a", 1, {row(canary, 1, 1, 1)}, 0);
  b.mark(canary, serving);
  b.heard("edge-a", "at edge-a", 2, {}, 1000);
  EXPECT_TRUE(b.traffic(canary, serving).all.not_finite);
  EXPECT_FALSE(b.traffic(serving, canary).all.not_finite);
  b.heard("edge-b", "at edge-b", 1, {row(serving, 1, 1, 1)}, 1000);
  b.heard("edge-b", "at edge-b", 2, {}, 2000);
  EXPECT_TRUE(b.traffic(serving, canary).all.not_finite);
}

TEST(traffic_book, keeps_nothing_of_versions_that_a_process_invents) {
  traffic_book b;
  b.heard("edge-a", "at edge-a", 1, {}, 0);
  b.mark(canary, serving);
  for (std::uint32_t n = 0; n < 5000; ++n) {
    const version_id invented{"assistant", 1000 + n};
    b.heard("edge-a", "at edge-a", 1, {row(invented, 9, 9, 9), row(canary, n)}, 1000 + n);
    EXPECT_EQ(b.traffic(invented, serving).all.count, 0u);
    EXPECT_FALSE(b.traffic(invented, serving).all.not_finite);
  }
  EXPECT_EQ(b.traffic(canary, serving).all.count, 4999u);
}

TEST(traffic_book, adds_up_the_rates_of_processes_that_were_heard_of_lately) {
  traffic_book b;
  b.heard("edge-a", "at edge-a", 1, {row(serving, 9, 0, 0, 0.4), row({"other", 0}, 9, 0, 0, 5)}, 0);
  b.heard("edge-b", "at edge-b", 1, {row(serving, 9, 0, 0, 0.3), row(canary, 9, 0, 0, 0.2)}, 8000);
  EXPECT_DOUBLE_EQ(b.requests_per_s("assistant", 8000), 0.9);
  EXPECT_DOUBLE_EQ(b.requests_per_s("assistant", 15000), 0.5);
}

class watch : public testing::Test {
 protected:
  canary_watch w{{.share = 0.5, .completions = 20, .time_max_ms = 15000}, 0};
  const canary_traffic good = {.all = {.bad = 0, .count = 20, .bad_before = 0, .count_before = 20}};

  reference_answer answer(const std::string& site, std::uint32_t from, std::size_t count,
                          double now = 1, double before = 1) {
    reference_answer a{.replica = site + "/0", .site = site, .from = from};
    for (std::size_t i = 0; i < count; ++i) {
      a.entropies.push_back(now + 0.01 * static_cast<double>(i % 3));
      a.entropies_before.push_back(before + 0.01 * static_cast<double>(i % 3));
    }
    return a;
  }
};

TEST_F(watch, one_replica_of_each_site_measures_at_most_32_sequences) {
  w.heard({"a/0", "kitchen", 96}, 0);
  w.heard({"a/1", "kitchen", 96}, 0);
  w.heard({"b/0", "workshop", 10}, 0);
  EXPECT_EQ(w.task_for("a/0"), (gate_request{.from = 0, .count = 32}));
  EXPECT_EQ(w.task_for("a/1"), std::nullopt);
  EXPECT_EQ(w.task_for("b/0"), (gate_request{.from = 0, .count = 10}));
  EXPECT_FALSE(w.take(answer("office", 0, 4)));
  EXPECT_FALSE(w.take(answer("kitchen", 3, 4))) << "nothing of the first three has come";
  ASSERT_TRUE(w.take(answer("kitchen", 0, 32)));
  ASSERT_TRUE(w.take(answer("kitchen", 0, 32))) << "told again";
  EXPECT_EQ(w.task_for("a/0"), std::nullopt);
  auto lame = answer("workshop", 0, 4);
  lame.entropies.pop_back();
  EXPECT_FALSE(w.take(lame));
}

TEST_F(watch, another_replica_takes_over_where_the_first_is_silent) {
  w.heard({"a/0", "kitchen", 96}, 0);
  w.heard({"a/1", "kitchen", 96}, 6000);
  EXPECT_EQ(w.task_for("a/0"), std::nullopt);
  EXPECT_TRUE(w.task_for("a/1"));
}

TEST_F(watch, waits_for_the_reference_sets_and_then_decides) {
  w.heard({"a/0", "kitchen", 16}, 0);
  EXPECT_EQ(w.judge(good, 3000).decision, canary_decision::waiting);
  ASSERT_TRUE(w.take(answer("kitchen", 0, 16)));
  EXPECT_EQ(w.judge(good, 1000).decision, canary_decision::waiting) << "others may come";
  EXPECT_EQ(w.judge(good, 3000).decision, canary_decision::promote);
  EXPECT_EQ(w.judge({.all = {.count = 19}}, 3000).decision, canary_decision::waiting);
}

TEST_F(watch, does_not_wait_for_a_site_beyond_the_longest_time_or_that_has_gone) {
  w.heard({"a/0", "kitchen", 16}, 0);
  EXPECT_EQ(w.judge(good, 9000).decision, canary_decision::waiting);
  EXPECT_EQ(w.judge(good, 11000).decision, canary_decision::promote);
  w.heard({"a/0", "kitchen", 16}, 11000);
  EXPECT_EQ(w.judge(good, 14000).decision, canary_decision::waiting);
  EXPECT_EQ(w.judge({}, 15000).decision, canary_decision::promote);
  EXPECT_NE(w.judge({}, 15000).reason.find("no request met it"), std::string::npos);
}

TEST_F(watch, says_where_fewer_answers_than_asked_for_had_to_do) {
  const auto enough = w.judge({.all = {.count = 20}}, 15000).reason,
             few = w.judge({.all = {.count = 5}}, 15000).reason;
  EXPECT_EQ(enough, "no worse than the serving version on live traffic");
  EXPECT_EQ(few, enough + ", though fewer answers than 20 came in time");
}

TEST_F(watch, a_site_that_has_fewer_than_it_said_is_done_with_them) {
  w.heard({"a/0", "kitchen", 16}, 0);
  ASSERT_TRUE(w.take(answer("kitchen", 0, 5)));
  EXPECT_EQ(w.task_for("a/0"), std::nullopt);
  EXPECT_EQ(w.judge(good, 3000).decision, canary_decision::promote);
}

TEST_F(watch, rolls_back_by_the_cross_entropies_of_all_sites_together) {
  w.heard({"a/0", "kitchen", 16}, 0);
  w.heard({"b/0", "workshop", 16}, 0);
  ASSERT_TRUE(w.take(answer("kitchen", 0, 16, 1.0, 1.0)));
  ASSERT_TRUE(w.take(answer("workshop", 0, 16, 1.4, 1.0)));
  const auto v = w.judge(good, 3000);
  EXPECT_EQ(v.decision, canary_decision::roll_back);
  EXPECT_LT(v.p_entropy, 0.025);
}

TEST_F(watch, judges_numbers_beyond_all_sense_as_large_ones) {
  w.heard({"a/0", "kitchen", 16}, 0);
  ASSERT_TRUE(w.take(answer("kitchen", 0, 16, 1e308, 1.0)));
  const auto v = w.judge(good, 3000);
  EXPECT_EQ(v.decision, canary_decision::roll_back);
  EXPECT_LT(v.p_entropy, 0.025);
}

TEST_F(watch, rolls_back_at_once_what_is_not_finite_or_does_not_run) {
  auto other = w;
  EXPECT_EQ(w.judge({.all = {.not_finite = true}}, 0).decision, canary_decision::roll_back);
  w.heard({"a/0", "kitchen", 2}, 0);
  auto a = answer("kitchen", 0, 2);
  a.entropies[1] = std::numeric_limits<double>::quiet_NaN();
  ASSERT_TRUE(w.take(a));
  EXPECT_EQ(w.judge({}, 0).decision, canary_decision::roll_back);
  other.heard({"a/0", "kitchen", 2}, 0);
  ASSERT_TRUE(other.take({.replica = "a/0", .site = "kitchen", .failure = "no room"}));
  EXPECT_EQ(other.judge({}, 0).reason, "kitchen: no room");
}

TEST(canary_line, names_both_sides) {
  EXPECT_EQ(canary_line({.reason = "fine"}, {1, 20, 2, 31, false}),
            "fine (20 answers, 1 bad; serving 31, 2 bad)");
}

}  // namespace
}  // namespace collm::coordinator
