#include "store/version_store.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "tests/support/raw_database.hpp"

namespace collm::store {
namespace {

class version_store_test : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("collm-store-" + std::to_string(::getpid()) + "-" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<version_store> open() {
    auto opened = open_version_store(folder_ / "head.db");
    EXPECT_TRUE(opened) << (opened ? "" : opened.failure().message);
    return std::move(*opened);
  }
  static version_row row(const std::string& name, const std::string& digest,
                         std::int32_t parent = -1) {
    version_row r;
    r.id.name = name;
    r.digest = digest;
    r.parent = parent;
    r.rank = 8;
    r.source = "initial";
    return r;
  }

  std::filesystem::path folder_;
};

TEST_F(version_store_test, numbers_rise_per_adapter_and_a_digest_keeps_its_number) {
  auto s = open();
  EXPECT_EQ(s->add(row("assistant", "aa"))->id.number, 0u);
  EXPECT_EQ(s->add(row("assistant", "bb"))->id.number, 1u);
  EXPECT_EQ(s->add(row("other", "aa"))->id.number, 0u);
  EXPECT_EQ(s->add(row("assistant", "aa"))->id.number, 0u);
  EXPECT_EQ(s->list()->size(), 3u);
}

TEST_F(version_store_test, survives_reopening_and_never_reuses_a_number) {
  {
    auto s = open();
    ASSERT_TRUE(s->add(row("assistant", "aa")));
    ASSERT_TRUE(s->add(row("assistant", "bb")));
    ASSERT_TRUE(s->retire({"assistant", 1}));
  }
  auto s = open();
  EXPECT_EQ(s->add(row("assistant", "cc"))->id.number, 2u);
  EXPECT_EQ((*s->find({"assistant", 1}))->state, version_state::retired);
}

TEST_F(version_store_test, promotion_drains_the_version_that_served) {
  auto s = open();
  ASSERT_TRUE(s->add(row("assistant", "aa")));
  ASSERT_TRUE(s->add(row("assistant", "bb", 0)));
  ASSERT_TRUE(s->promote({"assistant", 0}));
  EXPECT_EQ(s->promote({"assistant", 1})->state, version_state::serving);
  EXPECT_EQ((*s->find({"assistant", 0}))->state, version_state::draining);
  EXPECT_EQ(s->promote({"assistant", 7}).failure().code, errc::not_found);
}

TEST_F(version_store_test, rollback_returns_to_the_parent_and_is_final) {
  auto s = open();
  ASSERT_TRUE(s->add(row("assistant", "aa")));
  ASSERT_TRUE(s->add(row("assistant", "bb", 0)));
  ASSERT_TRUE(s->promote({"assistant", 0}));
  EXPECT_EQ(s->rollback("assistant").failure().code, errc::conflict);
  ASSERT_TRUE(s->promote({"assistant", 1}));
  EXPECT_EQ(s->rollback("assistant")->id.number, 0u);
  EXPECT_EQ((*s->find({"assistant", 1}))->state, version_state::rolled_back);
  EXPECT_EQ(s->promote({"assistant", 1}).failure().code, errc::conflict);
  EXPECT_EQ(s->rollback("nobody").failure().code, errc::not_found);
}

TEST_F(version_store_test, no_path_leaves_a_final_state) {
  using enum version_state;
  const auto states = {candidate, canary, serving, draining, retired, rejected, rolled_back};
  for (auto to : states) {
    EXPECT_FALSE(may_move(rejected, to));
    EXPECT_FALSE(may_move(rolled_back, to));
    EXPECT_FALSE(may_move(to, candidate));
  }
  auto s = open();
  ASSERT_TRUE(s->add(row("assistant", "aa")));
  ASSERT_TRUE(s->move({"assistant", 0}, rejected, "worse than the serving version"));
  EXPECT_EQ(*s->verdict({"assistant", 0}), "worse than the serving version");
  EXPECT_TRUE(s->move({"assistant", 0}, rejected));
  EXPECT_EQ(s->promote({"assistant", 0}).failure().code, errc::conflict);
  EXPECT_EQ(s->retire({"assistant", 0}).failure().code, errc::conflict);
  EXPECT_EQ(s->move({"assistant", 9}, rejected).failure().code, errc::not_found);
}

TEST_F(version_store_test, a_canary_is_promoted_or_rolled_back) {
  using enum version_state;
  auto s = open();
  for (auto digest : {"aa", "bb", "cc"}) ASSERT_TRUE(s->add(row("assistant", digest)));
  ASSERT_TRUE(s->promote({"assistant", 0}));
  EXPECT_EQ(s->move({"assistant", 1}, canary)->state, canary);
  EXPECT_EQ((*s->find({"assistant", 0}))->state, serving);
  EXPECT_EQ(s->move({"assistant", 1}, rolled_back, "more bad answers")->state, rolled_back);
  ASSERT_TRUE(s->move({"assistant", 2}, canary));
  EXPECT_EQ(s->promote({"assistant", 2}, "no worse")->state, serving);
  EXPECT_EQ(*s->verdict({"assistant", 2}), "no worse");
  EXPECT_EQ((*s->find({"assistant", 0}))->state, draining);
}

TEST_F(version_store_test, rollback_passes_over_a_parent_that_never_served) {
  auto s = open();
  ASSERT_TRUE(s->add(row("assistant", "aa")));
  ASSERT_TRUE(s->promote({"assistant", 0}));
  ASSERT_TRUE(s->add(row("assistant", "bb", 0)));
  ASSERT_TRUE(s->move({"assistant", 1}, version_state::rejected, "undecided"));
  ASSERT_TRUE(s->add(row("assistant", "cc", 1)));
  ASSERT_TRUE(s->promote({"assistant", 2}));
  EXPECT_EQ(s->rollback("assistant")->id.number, 0u);
}

TEST_F(version_store_test, lineage_leads_from_a_version_to_its_updates) {
  const version_lineage made{4, "rolora", {{"d1", "edge-a/0", 1200}, {"d2", "edge-b/0", 900}}};
  {
    auto s = open();
    ASSERT_TRUE(s->add(row("assistant", "aa")));
    EXPECT_FALSE(*s->lineage({"assistant", 0}));
    ASSERT_TRUE(s->set_lineage({"assistant", 0}, {3, "x", {{"d0", "edge-a/0", 1}}}));
    ASSERT_TRUE(s->set_lineage({"assistant", 0}, made));
    EXPECT_EQ(s->set_lineage({"assistant", 7}, made).failure().code, errc::not_found);
  }
  EXPECT_EQ(**open()->lineage({"assistant", 0}), made);
}

TEST_F(version_store_test, a_file_of_an_older_release_is_brought_up_to_date) {
  const char* sql =
      "CREATE TABLE versions (name TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, "
      "parent INTEGER NOT NULL, state INTEGER NOT NULL, rank INTEGER NOT NULL, "
      "bytes INTEGER NOT NULL, source TEXT NOT NULL, created INTEGER NOT NULL, "
      "PRIMARY KEY (name, number), UNIQUE (name, digest));"
      "ALTER TABLE versions ADD COLUMN folder TEXT NOT NULL DEFAULT '';"
      "INSERT INTO versions VALUES ('assistant', 0, 'aa', -1, 2, 8, 10, 'initial', 5, '/f');"
      "PRAGMA application_id = 1129270349; PRAGMA user_version = 2;";
  ASSERT_NO_FATAL_FAILURE(run_sql(folder_ / "head.db", sql));
  auto s = open();
  EXPECT_EQ((*s->find({"assistant", 0}))->folder, "/f");
  EXPECT_TRUE(s->set_lineage({"assistant", 0}, {1, "ffa", {}}));
  EXPECT_EQ(*s->verdict({"assistant", 0}), "");
}

TEST_F(version_store_test, a_damaged_file_is_named_and_left_alone) {
  std::filesystem::create_directories(folder_);
  std::ofstream(folder_ / "head.db") << std::string(4096, 'x');
  auto opened = open_version_store(folder_ / "head.db");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.failure().code, errc::corrupt);
  EXPECT_NE(opened.failure().message.find("head.db"), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(folder_ / "head.db"), 4096u);
}

TEST_F(version_store_test, a_database_of_another_program_is_refused) {
  ASSERT_NO_FATAL_FAILURE(run_sql(folder_ / "head.db", "CREATE TABLE t (x)"));
  EXPECT_FALSE(open_version_store(folder_ / "head.db"));
}

}  // namespace
}  // namespace collm::store
