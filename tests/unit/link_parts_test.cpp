// The small parts: words on the wire, the loop.
#include <gtest/gtest.h>

#include <algorithm>
#include <future>

#include "link/loop.hpp"
#include "link/outcome.hpp"

namespace collm::link {
namespace {

TEST(link_outcome, survives_the_way_as_an_exception) {
  for (const error& e :
       {error{errc::overloaded, "queue full", 1200}, error{errc::not_found, "no model: x"},
        error{errc::internal, "odd; retry after some ms"}}) {
    const auto hop = kj::Exception(
        kj::Exception::Type::FAILED, "", 0,
        kj::str("remote exception: remote exception: ", to_exception(e).getDescription()));
    const auto back = from_exception(hop);
    EXPECT_EQ(back.code, e.code);
    EXPECT_EQ(back.message, e.message);
    EXPECT_EQ(back.retry_after_ms, e.retry_after_ms);
  }
}

TEST(link_outcome, of_a_lost_connection_is_unavailable) {
  EXPECT_EQ(from_exception(KJ_EXCEPTION(DISCONNECTED, "peer reset")).code, errc::unavailable);
  EXPECT_EQ(from_exception(KJ_EXCEPTION(FAILED, "something: else")).code, errc::internal);
}

TEST(link_loop, runs_in_order_refuses_beyond_its_bound_and_after_its_end) {
  auto on = std::make_unique<loop>();
  auto outside = on->outside();
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(outside->post([&order, i] { order.push_back(i); }));
  on->call([] {});
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(order.size(), 100u);
  std::promise<void> open, busy;
  auto opened = open.get_future().share();
  outside->post([opened, &busy] {
    busy.set_value();
    opened.wait();
  });
  busy.get_future().wait();
  std::size_t taken = 0;
  while (taken <= inbox::tasks_max && outside->post([] {})) ++taken;
  EXPECT_EQ(taken, inbox::tasks_max);
  EXPECT_TRUE(outside->post_owed([] {}));
  open.set_value();
  on.reset();
  EXPECT_FALSE(outside->post([] {}));
  EXPECT_FALSE(outside->post_owed([] {}));
}

TEST(link_loop, looks_at_timers_while_events_never_pause) {
  loop on;
  std::promise<void> due;
  kj::Promise<void> spinning = nullptr, timer = nullptr;
  std::function<kj::Promise<void>()> spin = [&] { return kj::evalLater([&] { return spin(); }); };
  on.call([&] {
    spinning = spin().eagerlyEvaluate(nullptr);
    timer = on.timer()
                .afterDelay(5 * kj::MILLISECONDS)
                .then([&] {
                  spinning = nullptr;
                  due.set_value();
                })
                .eagerlyEvaluate(nullptr);
  });
  EXPECT_EQ(due.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  on.call([&] { timer = nullptr; });
}

}  // namespace
}  // namespace collm::link
