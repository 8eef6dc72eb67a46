// A node follows the registry: what was loaded or withdrawn while it was not there, folders that
// changed or went, and what its own gateway unloads.
#include <gtest/gtest.h>

#include <set>

#include "tests/support/serving_rig.hpp"
#include "tests/support/store_folder.hpp"

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

/// Each while a request runs on the version before, which drains then: memory is full.
void load_two_more(serving_rig& rig) {
  for (const char* folder : {"/adapters/b", "/adapters/c"}) {
    rig.send("assistant", {1}, 4000);
    rig.system.pass(500ms);
    rig.load(folder);
    rig.system.pass(500ms);
  }
}

/// What another gateway tells the registry of.
store::version_row loaded_elsewhere(const std::string& digest) {
  store::version_row row;
  row.id.name = "assistant";
  row.digest = digest;
  row.folder = "/adapters/" + digest;
  return row;
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

TEST(versions, that_no_replica_can_load_are_named_once_and_tried_again_later) {
  const auto versions = remembered({"unfit"}, "spare");
  int reads = 0;
  serving_rig rig({.versions = versions, .read_adapter = [&](const std::string& folder) {
                     ++reads;
                     return modelled_folder(folder);
                   }});
  rig.system.pass(25s);
  const auto told = rig.events("version_failed");
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("spare@0: made for a model of another shape"), std::string::npos);
  EXPECT_EQ(reads, 3) << "one each ten seconds";
}

TEST(versions, that_wait_for_room_say_so_and_serve_when_there_is_some) {
  auto versions = std::make_shared<memory_versions>();
  serving_rig rig({.versions = versions});
  load_two_more(rig);
  rig.send("assistant", {1}, 4000);
  rig.system.pass(100ms);
  ASSERT_TRUE(versions->add(loaded_elsewhere("d")));
  ASSERT_TRUE(versions->promote({"assistant", 3}));
  rig.system.pass(1500ms);
  ASSERT_EQ(rig.events("version_missing").size(), 1u);
  EXPECT_NE(rig.events("version_missing")[0].find("3 versions in memory"), std::string::npos);
  rig.system.pass(10s);
  EXPECT_EQ(rig.events("version_missing").size(), 1u);
  EXPECT_EQ(rig.executor->resident(), (std::vector<version_id>{{"assistant", 3}}));
}

TEST(versions, that_are_canaries_wait_for_room_by_name_and_answer_when_there_is_some) {
  auto versions = std::make_shared<memory_versions>();
  serving_rig rig({.versions = versions});
  load_two_more(rig);
  ASSERT_EQ(rig.executor->resident().size(), 3u) << "two drain, one serves";
  ASSERT_TRUE(versions->add(loaded_elsewhere("d")));
  ASSERT_TRUE(versions->move({"assistant", 3}, version_state::canary, ""));
  rig.system.pass(1500ms);
  ASSERT_EQ(rig.events("version_missing").size(), 1u);
  EXPECT_NE(rig.events("version_missing")[0].find(
                "assistant@3: a canary by the registry and not here: 'assistant' has 3 versions"),
            std::string::npos)
      << rig.events("version_missing")[0];
  rig.system.pass(10s);  // the running requests end
  EXPECT_EQ(rig.events("version_missing").size(), 1u);
  EXPECT_EQ(rig.events("canary_answers").size(), 1u);
  const auto resident = rig.executor->resident();
  EXPECT_EQ(std::set<version_id>(resident.begin(), resident.end()),
            (std::set<version_id>{{"assistant", 2}, {"assistant", 3}}));
}

TEST(versions, that_still_drain_serve_again_at_once_though_the_memory_is_full) {
  auto versions = std::make_shared<memory_versions>();
  serving_rig rig({.versions = versions});
  const auto pinned = rig.send("assistant", {1}, 4000);  // on @0
  rig.system.pass(500ms);
  rig.load("/adapters/b");
  rig.system.pass(500ms);
  store::version_row third;
  third.id.name = "assistant";
  third.digest = "c";
  third.folder = "/adapters/c";
  ASSERT_TRUE(versions->add(third));
  ASSERT_TRUE(versions->move({"assistant", 2}, version_state::canary, ""));
  rig.system.pass(1500ms);
  ASSERT_EQ(rig.executor->resident().size(), 3u) << "@0 drains, @1 serves, @2 is a canary";
  ASSERT_EQ(rig.answers[pinned].finished, 0u);
  ASSERT_TRUE(versions->promote({"assistant", 0}));  // taken back
  rig.system.pass(1500ms);
  EXPECT_TRUE(rig.events("version_missing").empty());
  const auto fresh = rig.send("assistant", {1}, 3);
  rig.system.pass(100ms);
  EXPECT_EQ(rig.answers[fresh].finished, 1u);
  EXPECT_EQ(rig.answers[fresh].version, 0u);
  rig.system.pass(10s);
  EXPECT_EQ(rig.answers[pinned].tokens.size(), 4000u);
  const auto resident = rig.executor->resident();
  EXPECT_EQ(std::set<version_id>(resident.begin(), resident.end()),
            (std::set<version_id>{{"assistant", 0}, {"assistant", 2}}));
}

TEST(versions, of_an_older_release_are_missing_for_what_it_did_not_keep) {
  auto versions = std::make_shared<memory_versions>();
  store::version_row migrated;
  migrated.id.name = "spare";
  migrated.digest = "spare";
  migrated.source = "peft:spare";
  ASSERT_TRUE(versions->add(migrated));
  ASSERT_TRUE(versions->promote({"spare", 0}));
  serving_rig rig({.versions = versions});
  rig.system.pass(3s);
  ASSERT_EQ(rig.events("version_missing").size(), 1u);
  EXPECT_NE(rig.events("version_missing")[0].find("kept no folder; load it again"),
            std::string::npos);
}

TEST(versions, of_the_manifest_are_freed_when_replaced_and_made_again_when_asked_for) {
  auto versions = std::make_shared<memory_versions>();
  serving_rig rig({.versions = versions});
  rig.load("/adapters/second");
  rig.system.pass(3s);
  EXPECT_TRUE(rig.made.expired());
  ASSERT_TRUE(versions->promote({"assistant", 0}));
  rig.system.pass(3s);
  EXPECT_EQ(rig.executor->resident(), (std::vector<version_id>{{"assistant", 0}}));
  EXPECT_FALSE(rig.made.expired());
}

TEST(versions, whose_number_other_factors_have_here_push_them_aside) {
  auto versions = std::make_shared<memory_versions>();
  serving_rig rig({.versions = versions});
  rig.load("/adapters/second");  // assistant@1
  rig.system.pass(3s);
  versions->forget();  // a head whose state was lost numbers anew
  for (const char* digest : {"first", "other"}) {
    store::version_row row;
    row.id.name = "assistant";
    row.digest = digest;
    row.folder = std::string("/adapters/") + digest;
    ASSERT_TRUE(versions->add(row));
  }
  ASSERT_TRUE(versions->promote({"assistant", 1}));
  rig.system.pass(3s);
  const auto id = rig.send("assistant", {1}, 3);
  rig.system.pass(1s);
  EXPECT_EQ(rig.answers[id].version, 1u);
  ASSERT_FALSE(rig.answers[id].tokens.empty());
  EXPECT_EQ(rig.answers[id].tokens[0],
            testing_support::modelled_executor::next_token("other", {1}, 0, 0));
}

TEST(versions, that_leave_still_leave_when_other_factors_under_their_number_are_refused) {
  serving_rig rig;
  const version_id first{"assistant", 0};
  rig.send("assistant", {1}, 500);
  rig.system.pass(10ms);
  caf::anon_send(rig.replica, actors::unload_atom::value, first);
  const auto refused = rig.system.ask<actors::reply<void>>(rig.replica, actors::load_atom::value,
                                                           first, modelled_adapter("other"));
  EXPECT_EQ(refused->failure().code, errc::conflict);
  EXPECT_FALSE(rig.executor->resident().empty());
  rig.system.pass(900ms);
  EXPECT_TRUE(rig.executor->resident().empty());
}

TEST(versions, unloaded_at_a_node_that_has_an_older_one_are_those_that_serve) {
  auto versions = std::make_shared<memory_versions>();
  serving_rig rig({.versions = versions});
  rig.system.pass(3s);
  store::version_row newer;  // loaded at another gateway, and not readable here
  newer.id.name = "assistant";
  newer.digest = "newer";
  newer.folder = "/adapters/bad";
  ASSERT_TRUE(versions->add(newer));
  ASSERT_TRUE(versions->promote({"assistant", 1}));
  const auto gone = rig.unload("assistant");
  ASSERT_TRUE(*gone) << gone->failure().message;
  EXPECT_EQ((**gone).read()->getNumber(), 1u);
  EXPECT_EQ(state_of(*versions, {"assistant", 1}), version_state::retired);
  EXPECT_EQ(state_of(*versions, {"assistant", 0}), version_state::draining);
  const auto again = rig.unload("assistant");
  ASSERT_FALSE(*again);
  EXPECT_EQ(again->failure().code, errc::not_found);
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

/// What a node keeps, on a real disk; gone with the test.
class kept : public store::store_folder {
 protected:
  std::shared_ptr<store::served_versions> served(const std::string& base = "base") const {
    return std::make_shared<store::served_versions>(folder_, base);
  }
  /// A node that loaded these, kept what it served and was killed; its head's registry.
  std::shared_ptr<memory_versions> lived(const std::vector<std::string>& folders,
                                         const std::string& name = "assistant") const {
    auto versions = std::make_shared<memory_versions>();
    serving_rig before({.versions = versions, .served = served()});
    before.system.pass(1s);
    for (const auto& f : folders) {
      before.load("/adapters/" + f, name);
      before.system.pass(2s);
    }
    return versions;
  }
  /// What it kept: assistant@1 alone.
  void keep(const std::string& digest, const std::string& source, const std::string& folder = "") {
    const auto list = msg<schema::VersionList>::build([&](schema::VersionList::Builder b) {
      auto row = b.initVersions(1)[0];
      row.setAdapter("assistant");
      row.setNumber(1);
      row.setDigest(digest);
      row.setSource(source);
      row.setFolder(folder);
    });
    ASSERT_TRUE(served()->keep_list(list.bytes()));
  }
  static std::string first_answer(serving_rig& rig, const std::string& model) {
    const auto id = rig.send(model, {1}, 3);
    rig.system.pass(1s);
    const auto& a = rig.answers[id];
    return a.finished == 1 ? to_string(version_id{a.adapter, a.version}) : a.code;
  }
};

TEST_F(kept, versions_serve_at_once_where_the_head_is_away) {
  const auto versions = lived({"second"});
  serving_rig rig({.versions = versions, .served = served(), .head_away = true});
  EXPECT_EQ(first_answer(rig, "assistant"), "assistant@1");
  EXPECT_EQ(rig.events("version_serving"), (std::vector<std::string>{"assistant@1 (peft:second)"}));
  rig.system.pass(20s);
  EXPECT_EQ(rig.executor->resident(), (std::vector<version_id>{{"assistant", 1}}));
}

TEST_F(kept, versions_of_adapters_beside_the_manifests_serve_too) {
  const auto versions = lived({"spare"}, "spare");
  serving_rig rig({.versions = versions, .served = served(), .head_away = true});
  EXPECT_EQ(first_answer(rig, "spare"), "spare@0");
  EXPECT_EQ(first_answer(rig, "assistant"), "assistant@0");
}

TEST_F(kept, versions_give_way_to_what_the_registry_says) {
  const auto versions = lived({"second"});
  ASSERT_TRUE(versions->promote({"assistant", 0}));
  serving_rig rig({.versions = versions, .served = served()});
  rig.system.pass(3s);
  EXPECT_EQ(first_answer(rig, "assistant"), "assistant@0");
  serving_rig again({.versions = versions, .served = served(), .head_away = true});
  EXPECT_EQ(first_answer(again, "assistant"), "assistant@0") << "that is what it served last";
}

TEST_F(kept, versions_that_were_withdrawn_are_not_kept) {
  auto versions = std::make_shared<memory_versions>();
  {
    serving_rig rig({.versions = versions, .served = served()});
    rig.load("/adapters/spare", "spare");
    rig.system.pass(3s);
    rig.unload("spare");
    rig.system.pass(3s);
  }
  serving_rig rig({.versions = versions, .served = served(), .head_away = true});
  EXPECT_EQ(first_answer(rig, "spare"), "not_found");
}

TEST_F(kept, versions_that_a_round_made_need_no_folder_and_no_head) {
  const std::vector<float> factors = {1, 2, 3};
  const auto bytes = std::as_bytes(std::span(factors));
  const auto digest = store::digest_of(bytes);
  keep(digest, "round:1");
  ASSERT_TRUE(served()->keep_factors(digest, bytes));
  {
    serving_rig rig({.served = served(), .head_away = true});
    EXPECT_EQ(first_answer(rig, "assistant"), "assistant@1");
    rig.system.pass(5s);
    EXPECT_TRUE(rig.events("not_kept").empty());
  }
  damage(folder_ / (digest + ".factors"), 5);
  serving_rig rig({.served = served(), .head_away = true});
  EXPECT_EQ(first_answer(rig, "assistant"), "assistant@0");
  EXPECT_EQ(rig.events("not_resumed").size(), 1u);
}

TEST_F(kept, versions_that_no_replica_can_load_give_way_and_stay_kept_until_the_head_has_spoken) {
  keep("unfit", "peft:unfit", "/adapters/unfit");
  const auto before = *served()->list();
  {
    serving_rig rig({.served = served(), .head_away = true});
    EXPECT_EQ(first_answer(rig, "assistant"), "assistant@0");
    rig.system.pass(5s);
    EXPECT_EQ(*served()->list(), before);
  }
  serving_rig rig({.served = served()});
  rig.system.pass(5s);
  EXPECT_NE(*served()->list(), before);
}

TEST_F(kept, versions_that_the_registry_never_heard_of_are_withdrawn) {
  lived({"spare"}, "spare");
  serving_rig rig({.served = served()});
  rig.system.pass(5s);
  EXPECT_EQ(first_answer(rig, "spare"), "not_found");
  EXPECT_EQ(first_answer(rig, "assistant"), "assistant@0");
}

TEST_F(kept, versions_that_cannot_be_had_again_are_named_and_the_manifests_serve) {
  const auto versions = lived({"second"});
  serving_rig rig({.versions = versions,
                   .read_adapter = [](const std::string&) -> result<engine::adapter_ptr> {
                     return error{errc::not_found, "no such folder"};
                   },
                   .served = served(),
                   .head_away = true});
  EXPECT_EQ(first_answer(rig, "assistant"), "assistant@0");
  EXPECT_EQ(rig.events("not_resumed"),
            (std::vector<std::string>{"assistant@1: /adapters/second: no such folder"}));
  rig.system.pass(5s);
  serving_rig again({.versions = versions, .served = served(), .head_away = true});
  EXPECT_EQ(first_answer(again, "assistant"), "assistant@1") << "the folder is back";
}

TEST_F(kept, versions_of_another_base_or_damaged_are_not_served) {
  const auto versions = lived({"second"});
  serving_rig other({.versions = versions, .served = served("another"), .head_away = true});
  EXPECT_EQ(first_answer(other, "assistant"), "assistant@0");
  lived({"second"});
  damage(folder_ / "versions", 100);
  serving_rig rig({.versions = versions, .served = served(), .head_away = true});
  EXPECT_EQ(first_answer(rig, "assistant"), "assistant@0");
  ASSERT_EQ(rig.events("not_resumed").size(), 1u);
}

TEST_F(kept, versions_that_the_disk_does_not_take_are_told_of_once_and_kept_later) {
  write(folder_ / "no-folder", "");
  const auto nowhere = std::make_shared<store::served_versions>(folder_ / "no-folder", "base");
  auto versions = std::make_shared<memory_versions>();
  serving_rig rig({.versions = versions, .served = nowhere});
  rig.load("/adapters/second");
  rig.system.pass(5s);
  EXPECT_EQ(rig.events("not_kept").size(), 1u);
  EXPECT_EQ(first_answer(rig, "assistant"), "assistant@1");
  std::filesystem::remove(folder_ / "no-folder");
  rig.system.pass(2s);
  EXPECT_TRUE(nowhere->list());
}

TEST(versions, of_the_manifest_that_later_ones_replaced_do_not_come_back_for_a_moment) {
  auto versions = std::make_shared<memory_versions>();
  for (const char* digest : {"older", "first", "second"})  // "first": the manifest's
    ASSERT_TRUE(versions->add(loaded_elsewhere(digest)));
  ASSERT_TRUE(versions->promote({"assistant", 1}));
  ASSERT_TRUE(versions->promote({"assistant", 2}));
  serving_rig rig({.versions = versions});
  rig.system.pass(3s);
  EXPECT_EQ(rig.events("version_serving"),
            (std::vector<std::string>{"assistant@0 (initial)", "assistant@2 ()"}));
}

}  // namespace
}  // namespace collm
