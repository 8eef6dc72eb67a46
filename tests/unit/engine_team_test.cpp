// The threads of a forward pass: they meet, they share out all work, and what one throws comes out.
#include "engine/model/team.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace collm::engine {
namespace {

/// Every member adds one in each of `phases`; whoever leaves, leaves in phase 3.
struct counted {
  std::atomic<std::uint32_t> sum{0};
  bool wrong = false;

  void work(const member& me, std::uint32_t phases, std::uint32_t leaver) {
    for (std::uint32_t p = 0; p < phases; ++p) {
      if (p == 3 && me.index == leaver)
        throw std::runtime_error("member " + std::to_string(leaver));
      sum.fetch_add(1);
      me.meet();
      if (sum.load() != (p + 1) * me.members) wrong = true;
      me.meet();
    }
  }
};

constexpr std::uint32_t nobody = 99;

TEST(team, meets_before_anybody_goes_on) {
  meeting_point point;
  counted c;
  run_team(3, point, [&](const member& me) { c.work(me, 100, nobody); });
  EXPECT_FALSE(c.wrong);
  EXPECT_EQ(c.sum, 300u);
}

TEST(team, carries_out_what_a_member_throws_and_works_again) {
  meeting_point point;
  for (std::uint32_t threads : {1u, 2u, 4u})
    for (std::uint32_t leaver = 0; leaver < threads; ++leaver) {
      counted c;
      try {
        run_team(threads, point, [&](const member& me) { c.work(me, 10, leaver); });
        ADD_FAILURE() << "nothing came out";
      } catch (const std::runtime_error& e) {
        EXPECT_EQ("member " + std::to_string(leaver), e.what());
      }
      EXPECT_GE(c.sum, 3 * threads);
      EXPECT_LT(c.sum, 4 * threads) << "nobody goes on without it";
      counted after;
      run_team(threads, point, [&](const member& me) { after.work(me, 10, nobody); });
      EXPECT_FALSE(after.wrong);
    }
}

TEST(team, gives_every_piece_to_one_member) {
  for (std::uint32_t count : {0u, 1u, 15u, 16u, 17u, 100u})
    for (std::uint32_t members : {1u, 2u, 3u}) {
      std::uint32_t reached = 0;
      for (std::uint32_t i = 0; i < members; ++i) {
        const auto [first, last] = member{i, members, nullptr}.part(count, 16);
        EXPECT_EQ(first, reached);
        reached = last;
      }
      EXPECT_EQ(reached, count);
    }
}

}  // namespace
}  // namespace collm::engine
