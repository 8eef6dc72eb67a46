#include "coordinator/gate_course.hpp"

#include <gtest/gtest.h>

namespace collm::coordinator {
namespace {

const std::vector<gate_replica> two_sites = {{"a/0", "kitchen", 40}, {"b/0", "workshop", 40}};

gate_course course(const std::vector<gate_replica>& replicas = two_sites, std::uint32_t guard = 0) {
  auto c = gate_course::open({}, replicas, guard, {}, 0);
  EXPECT_TRUE(c) << (c ? "" : c.failure().message);
  return std::move(*c);
}

gate_answer answer(const std::string& replica, const std::string& site, std::uint32_t from,
                   std::uint32_t count, double d = 0.05) {
  gate_answer a{.replica = replica, .site = site, .from = from};
  for (std::uint32_t i = 0; i < count; ++i) a.differences.push_back(d + 0.001 * (i % 5));
  return a;
}

TEST(gate_course, asks_one_replica_of_each_site_the_one_with_the_most_data) {
  const auto c = course({{"a/1", "kitchen", 8},
                         {"a/0", "kitchen", 8},
                         {"a/2", "kitchen", 30},
                         {"b/0", "workshop", 30},
                         {"b/1", "workshop", 30},
                         {"c/0", "office", 0}});
  EXPECT_FALSE(c.task_for("a/0"));
  EXPECT_EQ(c.task_for("a/2"), (gate_request{.count = 8}));  // half of the first look, 16
  EXPECT_EQ(c.task_for("b/0"), (gate_request{.count = 8}));
  EXPECT_FALSE(c.task_for("b/1"));
  EXPECT_FALSE(c.task_for("c/0"));
}

TEST(gate_course, a_site_that_says_it_has_more_than_the_last_look_takes_weighs_no_more) {
  const auto c = course({{"a/0", "kitchen", 4'000'000'000}, {"b/0", "workshop", 64}});
  EXPECT_EQ(c.task_for("a/0"), (gate_request{.count = 8}));
  EXPECT_EQ(c.task_for("b/0"), (gate_request{.count = 8}));
}

TEST(gate_course, takes_answers_in_parts_and_passes_over_what_it_knows) {
  auto c = course();
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 0, 5), 1));
  EXPECT_EQ(c.task_for("a/0"), (gate_request{.from = 5, .count = 3}));
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 0, 5), 2));  // sent twice
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 3, 5), 3));  // half of it new
  EXPECT_FALSE(c.task_for("a/0"));
  EXPECT_EQ(c.take(answer("a/0", "kitchen", 9, 1), 4).failure().code, errc::conflict);
  EXPECT_EQ(c.take(answer("x/0", "cellar", 0, 1), 4).failure().code, errc::not_found);
  EXPECT_EQ(c.judge().decision, gate_decision::waiting);
  ASSERT_TRUE(c.take(answer("b/0", "workshop", 0, 8), 5));
  EXPECT_EQ(c.judge().decision, gate_decision::promote);
}

TEST(gate_course, goes_on_behind_sequences_that_the_model_cannot_take) {
  auto c = course();
  auto some = answer("a/0", "kitchen", 0, 6);
  some.read = 8;
  ASSERT_TRUE(c.take(some, 1));
  EXPECT_EQ(c.task_for("a/0"), (gate_request{.from = 8, .count = 2}));
  ASSERT_TRUE(c.take(some, 2));  // sent twice
  EXPECT_EQ(c.task_for("a/0"), (gate_request{.from = 8, .count = 2}));
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 8, 2), 3));
  EXPECT_FALSE(c.task_for("a/0"));
  ASSERT_TRUE(c.take(answer("b/0", "workshop", 0, 8), 4));
  EXPECT_EQ(c.judge().decision, gate_decision::promote);
  EXPECT_EQ(c.judge().count, 16u);
}

TEST(gate_course, judges_by_what_there_is_where_a_site_has_looked_at_everything) {
  auto c = course({{"a/0", "kitchen", 20}, {"b/0", "workshop", 20}});
  auto none = answer("a/0", "kitchen", 0, 0);
  none.read = 8;
  ASSERT_TRUE(c.take(none, 1));
  EXPECT_EQ(c.task_for("a/0"), (gate_request{.from = 8, .count = 8}));
  none.from = 8;
  none.read = 12;
  ASSERT_TRUE(c.take(none, 2));
  EXPECT_FALSE(c.task_for("a/0")) << "it has no more: it is not asked again";
  ASSERT_TRUE(c.take(answer("b/0", "workshop", 0, 8), 3));
  const auto v = c.judge();
  EXPECT_EQ(v.decision, gate_decision::promote);
  EXPECT_EQ(v.count, 8u);
  EXPECT_TRUE(v.silent.empty()) << "it did answer";
}

TEST(gate_course, a_set_that_is_smaller_than_it_was_ends_where_it_ends) {
  auto c = course();
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 0, 5), 1));
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 5, 0), 2));
  EXPECT_FALSE(c.task_for("a/0"));
  ASSERT_TRUE(c.take(answer("b/0", "workshop", 0, 8), 3));
  const auto v = c.judge();
  EXPECT_EQ(v.decision, gate_decision::promote);
  EXPECT_EQ(v.count, 13u);
}

TEST(gate_course, where_nothing_can_be_scored_only_an_operator_promotes) {
  auto c = course({{"a/0", "kitchen", 20}});
  auto none = answer("a/0", "kitchen", 0, 0);
  none.read = 20;
  ASSERT_TRUE(c.take(none, 1));
  EXPECT_EQ(c.judge().decision, gate_decision::operator_only);
}

TEST(gate_course, has_the_guard_set_judged_by_one_site) {
  auto c = course(two_sites, 100);
  EXPECT_EQ(c.task_for("a/0"), (gate_request{.count = 8, .guard_count = 16}));
  EXPECT_EQ(c.task_for("b/0"), (gate_request{.count = 8}));
  auto a = answer("a/0", "kitchen", 0, 8);
  a.guard.assign(16, 0.0);
  ASSERT_TRUE(c.take(a, 1));
  EXPECT_EQ(c.judge().decision, gate_decision::waiting);
  ASSERT_TRUE(c.take(answer("b/0", "workshop", 0, 8), 2));
  EXPECT_EQ(c.judge().decision, gate_decision::promote);
}

TEST(gate_course, takes_the_guard_set_from_nobody_who_was_not_asked) {
  auto c = course(two_sites, 100);
  auto b = answer("b/0", "workshop", 0, 8);
  b.guard.assign(16, 0.5);
  EXPECT_EQ(c.take(b, 1).failure().code, errc::conflict);
  EXPECT_EQ(c.task_for("a/0")->guard_from, 0u);
}

TEST(gate_course, a_site_that_only_passes_over_sequences_is_not_waited_for_without_end) {
  auto c = course({{"a/0", "kitchen", 4'000'000'000}, {"b/0", "workshop", 40}});
  auto none = answer("a/0", "kitchen", 0, 0);
  none.read = 1;
  double t = 0;
  for (; t < 1e6 && c.judge().silent.empty(); t += 1000) {
    if (const auto task = c.task_for("a/0")) none.from = task->from;
    ASSERT_TRUE(c.take(none, t));
    for (const auto& r : two_sites) c.heard({r.replica, r.site, 4'000'000'000}, t);
    if (const auto task = c.task_for("b/0")) {
      ASSERT_TRUE(c.take(answer("b/0", "workshop", task->from, task->count), t));
    }
    c.time_passed(t);
  }
  EXPECT_EQ(c.judge().silent, std::vector<std::string>{"kitchen"});
  EXPECT_LT(t, 130e3);
}

TEST(gate_course, a_site_whose_data_its_model_cannot_take_ends_with_what_there_is) {
  auto c = course({{"a/0", "kitchen", 4000}, {"b/0", "workshop", 40}});
  for (int i = 0; i < 100 && c.task_for("a/0"); ++i) {
    auto none = answer("a/0", "kitchen", c.task_for("a/0")->from, 0);
    none.read = 8;
    ASSERT_TRUE(c.take(none, i));
  }
  EXPECT_FALSE(c.task_for("a/0"));
}

TEST(gate_course, what_is_told_again_of_the_guard_set_is_no_progress) {
  auto c = course(two_sites, 100);
  ASSERT_TRUE(c.take(answer("b/0", "workshop", 0, 8), 1));
  auto again = answer("a/0", "kitchen", 0, 8);
  again.guard.assign(4, 0.0);
  for (double t = 1000; t <= 122000; t += 1000) {
    ASSERT_TRUE(c.take(again, t)) << t;
    for (const auto& r : two_sites) c.heard(r, t);
    c.time_passed(t);
    if (c.judge().silent.size() == 1) break;
  }
  EXPECT_EQ(c.judge().silent, std::vector<std::string>{"kitchen"});
  ASSERT_TRUE(c.task_for("b/0"));
  EXPECT_EQ(c.task_for("b/0")->guard_from, 4u) << "another site goes on with it";
}

TEST(gate_course, gives_up_a_site_that_is_silent_and_names_it) {
  auto c = course();
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 0, 8), 1));
  for (double t = 1000; t <= 10000; t += 1000) {
    c.heard(two_sites[0], t);
    c.time_passed(t);
  }
  EXPECT_EQ(c.judge().decision, gate_decision::waiting);
  c.heard(two_sites[0], 11000);
  c.time_passed(11000);
  ASSERT_TRUE(c.task_for("a/0")) << "the looks are the remaining site's now";
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 8, 8), 11500));
  const auto v = c.judge();
  EXPECT_EQ(v.decision, gate_decision::promote);
  EXPECT_EQ(v.silent, std::vector<std::string>{"workshop"});
}

TEST(gate_course, waits_while_nobody_is_heard_at_all) {
  auto c = course();
  c.time_passed(600000);
  EXPECT_TRUE(c.judge().silent.empty());
  c.heard(two_sites[0], 601000);
  c.time_passed(601000);
  EXPECT_TRUE(c.judge().silent.empty()) << "the other one has its own time to come back";
  c.heard(two_sites[1], 602000);
  c.time_passed(602000);
  EXPECT_TRUE(c.judge().silent.empty());
  EXPECT_TRUE(c.task_for("b/0"));
}

TEST(gate_course, gives_up_a_site_that_is_heard_but_never_answers) {
  auto c = course();
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 0, 8), 1));
  for (double t = 1000; t <= 122000; t += 1000) {
    for (const auto& r : two_sites) c.heard(r, t);
    c.time_passed(t);
  }
  EXPECT_EQ(c.judge().silent, std::vector<std::string>{"workshop"});
}

TEST(gate_course, lets_another_replica_of_the_site_take_over) {
  auto c = course({{"a/0", "kitchen", 40}, {"a/1", "kitchen", 40}, {"b/0", "workshop", 40}});
  ASSERT_TRUE(c.take(answer("a/0", "kitchen", 0, 3), 1));
  for (double t = 1000; t <= 6000; t += 1000) {
    c.heard({"a/1", "kitchen", 40}, t);
    c.heard({"b/0", "workshop", 40}, t);
    c.time_passed(t);
  }
  EXPECT_FALSE(c.task_for("a/0"));
  EXPECT_EQ(c.task_for("a/1"), (gate_request{.from = 3, .count = 5}));
}

TEST(gate_course, ends_where_the_candidate_fails_at_a_site) {
  auto c = course();
  auto a = answer("b/0", "workshop", 0, 0);
  a.failure = "rank 9 is larger than 8";
  ASSERT_TRUE(c.take(a, 1));
  const auto v = c.judge();
  EXPECT_EQ(v.decision, gate_decision::reject);
  EXPECT_EQ(v.reason, "workshop: rank 9 is larger than 8");
}

TEST(gate_course, without_any_data_does_not_open) {
  EXPECT_FALSE(gate_course::open({}, {{"a/0", "kitchen", 0}}, 0, {}, 0));
  EXPECT_FALSE(gate_course::open({}, {}, 0, {}, 0));
}

}  // namespace
}  // namespace collm::coordinator
