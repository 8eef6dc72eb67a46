#include "coordinator/following.hpp"

#include <gtest/gtest.h>

namespace collm::coordinator {
namespace {

using ids = std::vector<version_id>;
using versions = std::vector<known_version>;

TEST(following, a_node_that_serves_what_is_registered_has_nothing_to_do) {
  const versions same = {{{"assistant", 1}, "b"}, {{"other", 0}, "c"}};
  EXPECT_TRUE(follow(same, same).done());
}

TEST(following, what_serves_elsewhere_is_loaded_and_what_was_withdrawn_is_retired) {
  const versions registered = {{{"assistant", 0}, "a"}, {{"old", 0}, "o", false}};
  const versions here = {{{"old", 0}, "o"}};
  const auto steps = follow(registered, here);
  EXPECT_EQ(steps.load, (ids{{"assistant", 0}}));
  EXPECT_EQ(steps.retire, (ids{{"old", 0}}));
}

TEST(following, an_older_version_is_left_to_the_one_that_replaces_it) {
  const versions registered = {{{"assistant", 0}, "a", false}, {{"assistant", 1}, "b"}};
  const auto steps = follow(registered, versions{{{"assistant", 0}, "a"}});
  EXPECT_EQ(steps.load, (ids{{"assistant", 1}}));
  EXPECT_TRUE(steps.retire.empty());
}

TEST(following, a_number_with_other_factors_is_not_that_version) {
  const versions registered = {{{"assistant", 0}, "a"}};
  const auto steps = follow(registered, versions{{{"assistant", 0}, "x"}});
  EXPECT_EQ(steps.load, (ids{{"assistant", 0}}));
  EXPECT_EQ(steps.retire, (ids{{"assistant", 0}})) << "it makes way: a number is one version's";
}

TEST(following, what_serves_under_a_number_that_was_retired_is_retired_whatever_its_factors) {
  const versions registered = {{{"assistant", 0}, "a", false}};
  EXPECT_EQ(follow(registered, versions{{{"assistant", 0}, "x"}}).retire, (ids{{"assistant", 0}}));
}

TEST(following, a_version_that_drains_here_does_not_count_as_served) {
  const versions registered = {{{"assistant", 0}, "a"}};
  EXPECT_EQ(follow(registered, versions{{{"assistant", 0}, "a", false}}).load,
            (ids{{"assistant", 0}}));
}

TEST(following, what_waits_for_its_number_stays) {
  EXPECT_TRUE(follow({}, versions{{{"assistant", 0}, "a"}}).done());
}

TEST(following, a_canary_is_tried_out_beside_what_serves_and_given_up_when_it_is_none_any_more) {
  const versions registered = {{{"assistant", 0}, "a"}, {{"assistant", 1}, "b", false, true}};
  const known_version old{{"assistant", 0}, "a"}, tried{{"assistant", 1}, "b", false, true};
  const auto steps = follow(registered, versions{old});
  EXPECT_TRUE(steps.done()) << "a node without the canary serves all the same";
  EXPECT_EQ(steps.try_out, (ids{{"assistant", 1}}));
  EXPECT_TRUE(follow(registered, versions{old, tried}).try_out.empty());
  EXPECT_TRUE(follow(registered, versions{old, tried}).give_up.empty());
  const versions rolled_back = {{{"assistant", 0}, "a"}, {{"assistant", 1}, "b", false}};
  EXPECT_EQ(follow(rolled_back, versions{old, tried}).give_up, (ids{{"assistant", 1}}));
  EXPECT_EQ(follow(versions{old}, versions{old, tried}).give_up, (ids{{"assistant", 1}}));
}

TEST(following, a_canary_that_was_promoted_takes_the_place_of_what_served) {
  const versions registered = {{{"assistant", 0}, "a", false}, {{"assistant", 1}, "b"}};
  const auto steps =
      follow(registered, versions{{{"assistant", 0}, "a"}, {{"assistant", 1}, "b", false, true}});
  EXPECT_EQ(steps.load, (ids{{"assistant", 1}}));
  EXPECT_TRUE(steps.retire.empty());
  EXPECT_TRUE(steps.give_up.empty());
}

TEST(adapter_names, are_short_plain_and_nobody_elses) {
  EXPECT_EQ(adapter_name_fault("assistant-2.b_c", "base"), "");
  EXPECT_EQ(adapter_name_fault(std::string(63, 'a'), "base"), "");
  for (const std::string& bad :
       {std::string(), std::string(64, 'a'), std::string("a b"), std::string("a\0b", 3),
        std::string("a@1"), std::string("a/b"), std::string("."), std::string("..")}) {
    EXPECT_NE(adapter_name_fault(bad, "base"), "") << bad;
  }
  for (const char* taken : {"smollm2", "base"}) {
    EXPECT_NE(adapter_name_fault(taken, "smollm2").find("the base itself"), std::string::npos);
  }
}

}  // namespace
}  // namespace collm::coordinator
