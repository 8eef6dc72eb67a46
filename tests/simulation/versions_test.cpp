// A node follows the registry: what was loaded or withdrawn while it was not there, folders that
// changed or went, and what its own gateway unloads.
#include <gtest/gtest.h>

#include "tests/support/serving_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using store::version_state;
using testing_support::memory_versions;
using testing_support::modelled_adapter;
using testing_support::modelled_folder;
using testing_support::serving_rig;

version_state state_of(store::version_store& versions, const version_id& id) {
  const auto row = versions.find(id);
  EXPECT_TRUE(row && *row) << to_string(id);
  return (*row)->state;
}

/// A node that lived, loaded `folders` and was killed; the head's registry remembers.
std::shared_ptr<memory_versions> remembered(const std::vector<std::string>& folders,
                                            const std::string& name = "assistant") {
  auto versions = std::make_shared<memory_versions>();
  serving_rig before({.versions = versions});
  before.system.pass(1s);
  for (const auto& f : folders) {
    before.load("/adapters/" + f, name);
    before.system.pass(1s);
  }
  return versions;
}

TEST(versions, unloaded_at_a_node_are_retired_in_the_registry_and_leave_the_metrics) {
  auto versions = std::make_shared<memory_versions>();
  serving_rig rig({.versions = versions});
  rig.load("/adapters/spare", "spare");
  rig.system.pass(3s);
  const auto metrics = [&] {
    return rig.system.ask<std::string>(rig.telemetry, actors::metrics_atom::value);
  };
  const std::string series = "collm_adapter_resident{adapter=\"spare\"";
  EXPECT_NE(metrics().find(series), std::string::npos);
  const auto gone = rig.unload("spare");
  ASSERT_TRUE(*gone) << gone->failure().message;
  EXPECT_EQ((**gone).read()->getState(), schema::VersionState::RETIRED);
  rig.system.pass(5s);
  EXPECT_EQ(state_of(*versions, {"spare", 0}), version_state::retired);
  EXPECT_EQ(rig.executor->resident(), (std::vector<version_id>{{"assistant", 0}}));
  EXPECT_EQ(metrics().find(series), std::string::npos);
  EXPECT_EQ(rig.events("version_retired").size(), 1u);
  rig.load("/adapters/spare", "spare");  // and can come back under its number
  rig.system.pass(1s);
  EXPECT_EQ(state_of(*versions, {"spare", 0}), version_state::serving);
}

TEST(versions, loaded_while_a_node_lived_serve_again_in_the_process_that_replaces_it) {
  const auto versions = remembered({"second"});
  serving_rig rig({.versions = versions});
  rig.system.pass(3s);
  const auto id = rig.send("assistant", {1}, 3);
  rig.system.pass(1s);
  EXPECT_EQ(rig.answers[id].version, 1u);
  EXPECT_EQ(state_of(*versions, {"assistant", 1}), version_state::serving);
  EXPECT_EQ(rig.executor->resident(), (std::vector<version_id>{{"assistant", 1}}));
  EXPECT_TRUE(rig.events("version_registered").empty()) << "nothing new was registered";
  EXPECT_TRUE(rig.events("version_missing").empty());
}

TEST(versions, withdrawn_while_a_node_was_away_are_withdrawn_there) {
  const auto versions = remembered({});
  ASSERT_TRUE(versions->retire({"assistant", 0}));
  serving_rig rig({.versions = versions});
  rig.system.pass(3s);
  EXPECT_TRUE(rig.executor->resident().empty());
  const auto id = rig.send("assistant", {1}, 3);
  rig.system.pass(1s);
  EXPECT_EQ(rig.answers[id].code, "not_found");
}

TEST(versions, whose_folder_is_gone_are_named_once_and_served_when_it_is_back) {
  const auto versions = remembered({"spare"}, "spare");
  bool there = false;
  serving_rig rig({.versions = versions, .read_adapter = [&](const std::string& folder) {
                     if (!there)
                       return result<engine::adapter_ptr>(error{errc::not_found, "no such folder"});
                     return modelled_folder(folder);
                   }});
  rig.system.pass(25s);
  const auto told = rig.events("version_missing");
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("spare@0"), std::string::npos);
  EXPECT_NE(told[0].find("/adapters/spare"), std::string::npos);
  const auto first = rig.send("spare", {1}, 3);
  const auto other = rig.send("assistant", {1}, 3);
  rig.system.pass(1s);
  EXPECT_EQ(rig.answers[first].code, "not_found");
  EXPECT_EQ(rig.answers[other].finished, 1u);
  there = true;
  rig.system.pass(15s);
  const auto then = rig.send("spare", {1}, 3);
  rig.system.pass(1s);
  EXPECT_EQ(rig.answers[then].finished, 1u);
}

TEST(versions, whose_folder_holds_other_factors_now_are_not_served_under_the_old_number) {
  const auto versions = remembered({"spare"}, "spare");
  serving_rig rig({.versions = versions, .read_adapter = [](const std::string&) {
                     return result<engine::adapter_ptr>(modelled_adapter("changed"));
                   }});
  rig.system.pass(5s);
  const auto told = rig.events("version_missing");
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("holds other factors now (digest changed, registered spare)"),
            std::string::npos)
      << told[0];
  EXPECT_EQ(rig.executor->resident(), (std::vector<version_id>{{"assistant", 0}}));
}

TEST(versions, of_the_manifest_are_registered_once_by_any_number_of_nodes) {
  const auto versions = remembered({});
  serving_rig rig({.versions = versions});
  rig.system.pass(3s);
  EXPECT_EQ((*versions->list()).size(), 1u);
  EXPECT_TRUE(rig.events("version_registered").empty());
  EXPECT_TRUE(rig.events("version_promoted").empty());
}

TEST(versions, of_the_base_or_an_unclear_name_are_refused) {
  serving_rig rig;
  for (const std::string& name : {std::string("tiny"), std::string("base"), std::string("."),
                                  std::string(".."), std::string("a/b"), std::string("a\0b", 3)}) {
    const auto r = rig.system.ask<actors::reply<msg<schema::VersionRecord>>>(
        rig.node, actors::load_atom::value, name, std::string("/adapters/x"));
    ASSERT_FALSE(*r) << name;
    EXPECT_EQ(r->failure().code, errc::bad_request);
    EXPECT_NE(r->failure().message.find("would be right"), std::string::npos);
  }
}

}  // namespace
}  // namespace collm
