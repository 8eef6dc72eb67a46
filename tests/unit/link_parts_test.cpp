// The small parts: words on the wire, the loop.
#include <capnp/any.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>

#include "link/loop.hpp"
#include "link/outcome.hpp"
#include "link/peer_copy.hpp"
#include "messages/registry.capnp.h"

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

/// A list of one version, whose pointers are then spoilt: of the list, and of the version.
template <class Spoil>
bool is_copied(Spoil&& spoil) {
  capnp::MallocMessageBuilder message;
  auto list = message.initRoot<schema::VersionList>();
  auto version = list.initVersions(2)[1];
  version.setAdapter("assistant");
  version.setSource("initial");
  spoil(capnp::toAny(list).getPointerSection(), capnp::toAny(version).getPointerSection());
  const auto copied = guard([&] { return copy_from_peer<schema::VersionList>(list.asReader()); });
  if (!copied) return false;
  const auto read = copied->read();
  for (const auto v : read->getVersions()) EXPECT_GE(v.getAdapter().size(), 0u);
  return true;
}

TEST(link_peer_copy, is_what_the_schema_says_or_nothing) {
  using list = capnp::List<capnp::AnyPointer>::Builder;
  EXPECT_TRUE(is_copied([](list, list) {}));
  EXPECT_TRUE(is_copied([](list, list version) { version[1].clear(); }));
  // Bytes are structs of one byte, if a schema wants structs.
  EXPECT_TRUE(is_copied([](list all, list) { all[0].setAs<capnp::Text>("bytes"); }));
  EXPECT_FALSE(is_copied([](list all, list) { all[0].initAs<capnp::List<bool>>(9); }));
  EXPECT_FALSE(is_copied([](list all, list) { all[0].initAs<schema::VersionRecord>(); }));
  EXPECT_FALSE(is_copied([](list, list version) { version[0].initAs<schema::VersionRecord>(); }));
  EXPECT_FALSE(is_copied([](list, list version) {
    version[1].initAs<capnp::List<std::uint8_t>>(3).set(2, 'x');  // a text ends with a nul
  }));
}

TEST(link_peer_copy, takes_no_time_for_elements_that_take_no_bytes) {
  capnp::MallocMessageBuilder message;
  auto all = message.initRoot<schema::VersionList>();
  capnp::toAny(all).getPointerSection()[0].initAs<capnp::List<capnp::Void>>((1u << 29) - 1);
  capnp::ReaderOptions bounds;
  bounds.traversalLimitInWords = 1u << 20;  // as of a connection
  const auto flat = capnp::messageToFlatArray(message);
  capnp::FlatArrayMessageReader reader(flat, bounds);
  EXPECT_FALSE(guard(
      [&] { return copy_from_peer<schema::VersionList>(reader.getRoot<schema::VersionList>()); }));
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
