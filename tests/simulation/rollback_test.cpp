// An operator's rollback on virtual time, over the real registry store.
#include <gtest/gtest.h>

#include "tests/support/serving_rig.hpp"
#include "tests/support/store_folder.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using testing_support::modelled_executor;
using testing_support::serving_rig;

class rollback : public store::store_folder {};

TEST_F(rollback, while_a_request_is_pinned_leaves_it_its_version) {
  std::shared_ptr<store::version_store> versions =
      std::move(*store::open_version_store(folder_ / "registry.db"));
  serving_rig rig({.versions = versions});
  rig.system.pass(2s);
  rig.load("/adapters/second");
  rig.system.pass(2s);
  const auto pinned = rig.send("assistant", {1}, 4000);
  rig.system.pass(500ms);
  ASSERT_EQ(rig.answers[pinned].version, 1u);

  const auto back = rig.system.ask<actors::reply<msg<schema::VersionRecord>>>(
      rig.registry, actors::rollback_atom::value, std::string("assistant"));
  ASSERT_TRUE(*back) << back->failure().message;
  EXPECT_EQ((**back).read()->getNumber(), 0u);
  EXPECT_EQ((*versions->find({"assistant", 1}))->state, store::version_state::rolled_back);
  rig.system.pass(2s);
  const auto fresh = rig.send("assistant", {1}, 3);
  rig.system.pass(500ms);
  EXPECT_EQ(rig.answers[fresh].version, 0u);
  EXPECT_EQ(rig.answers[pinned].finished, 0u) << "it runs on";

  rig.system.pass(10s);
  const auto& a = rig.answers[pinned];
  ASSERT_EQ(a.finished, 1u);
  ASSERT_EQ(a.tokens.size(), 4000u);
  EXPECT_EQ(a.tokens[0], modelled_executor::next_token("second", {1}, 0, 0));
  EXPECT_EQ(a.tokens[3999], modelled_executor::next_token("second", {1}, 3999, 0));
  EXPECT_EQ(rig.executor->resident(), (std::vector<version_id>{{"assistant", 0}}));
  EXPECT_FALSE(*rig.system.ask<actors::reply<msg<schema::VersionRecord>>>(
      rig.registry, actors::promote_atom::value, version_id{"assistant", 1}))
      << "rolled back is final";
}

}  // namespace
}  // namespace collm
