#include "store/backup.hpp"

#include <sys/stat.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "store/job_store.hpp"
#include "store/round_journal.hpp"
#include "store/version_store.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::store {
namespace {

class backup_test : public store_folder {
 protected:
  void SetUp() override {
    store_folder::SetUp();
    state_ = folder_ / "state", to_ = folder_ / "kept", fresh_ = folder_ / "fresh";
    std::filesystem::create_directories(state_ / "rounds/assistant/a");
    write(state_ / "rounds/assistant/a/abc", std::string(3 << 20, 'x'));
    write(state_ / "cluster.yaml", "a manifest");
    write(state_ / "sites", "what a site trained on");
    journal_ = std::move(*open_round_journal(state_ / "rounds.db"));
    ASSERT_TRUE(journal_->append("assistant", 1, {"opened", "assigned"}));
  }
  result<backup_size> back_up(disk& on = real_disk()) {
    return store::back_up(state_, parts_, to_, on);
  }
  static std::string text_of(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::vector<std::string> records(const std::filesystem::path& folder) {
    auto journal = open_round_journal(folder / "rounds.db");
    EXPECT_TRUE(journal) << journal.failure().message;
    return *(*journal)->read("assistant", 1);
  }

  const backup_parts parts_{{"registry.db", "rounds.db"}, {"rounds", "link"}, {"cluster.yaml"}};
  std::filesystem::path state_, to_, fresh_;
  std::unique_ptr<round_journal> journal_;
};

TEST_F(backup_test, holds_what_an_open_database_committed_and_comes_back_whole) {
  const auto size = back_up();
  ASSERT_TRUE(size) << size.failure().message;
  EXPECT_EQ(size->files, 3u);
  ASSERT_TRUE(journal_->append("assistant", 1, {"later"}));
  ASSERT_TRUE(restore(to_, fresh_));
  EXPECT_EQ(records(fresh_), (std::vector<std::string>{"opened", "assigned"}));
  EXPECT_EQ(text_of(fresh_ / "rounds/assistant/a/abc"), std::string(3 << 20, 'x'));
  EXPECT_EQ(text_of(fresh_ / "cluster.yaml"), "a manifest");
  EXPECT_FALSE(std::filesystem::exists(fresh_ / "sites")) << "nothing but the parts";
  EXPECT_EQ(records(state_).size(), 3u) << "the owner goes on";
}

TEST_F(backup_test, comes_back_without_what_is_better_forgotten) {
  ASSERT_TRUE(back_up());
  const auto size = restore(to_, fresh_, real_disk(), {"rounds/assistant/a/abc"});
  ASSERT_TRUE(size) << size.failure().message;
  EXPECT_EQ(size->files, 2u);
  EXPECT_FALSE(std::filesystem::exists(fresh_ / "rounds/assistant/a/abc"));
  EXPECT_EQ(text_of(fresh_ / "cluster.yaml"), "a manifest");
}

TEST_F(backup_test, is_for_its_owner_alone) {
  ASSERT_TRUE(back_up());
  struct stat s {};
  ASSERT_EQ(::stat(to_.c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0777, 0700u) << "nobody else gets to what is below";
  for (const auto& e : std::filesystem::recursive_directory_iterator(to_)) {
    if (e.is_directory()) continue;
    ASSERT_EQ(::stat(e.path().c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 077, 0u) << e.path();
  }
}

TEST_F(backup_test, databases_are_of_one_instant) {
  // A writer that moves a pair in both, registry first, as the head does: never a gap of two.
  std::atomic<bool> end = false;
  std::atomic<int> written = 0;
  std::thread writer([&, other = std::move(*open_round_journal(state_ / "registry.db"))] {
    for (int i = 0; !end && i < 5000; ++i) {
      ASSERT_TRUE(other->append("x", 1, {std::to_string(i)}));
      ASSERT_TRUE(journal_->append("x", 1, {std::to_string(i)}));
      written = i;
    }
  });
  for (int i = 0; i < 5; ++i) {
    while (written < 3 * (i + 1)) std::this_thread::yield();
    std::filesystem::remove_all(to_);
    ASSERT_TRUE(back_up());
    const auto first = (*open_round_journal(to_ / "registry.db"))->read("x", 1)->size();
    const auto second = (*open_round_journal(to_ / "rounds.db"))->read("x", 1)->size();
    EXPECT_GE(first, second);
    EXPECT_LE(first, second + 1);
  }
  end = true;
  writer.join();
}

TEST_F(backup_test, a_changed_missing_or_foreign_file_is_named_and_nothing_is_made) {
  ASSERT_TRUE(back_up());
  const auto blob = to_ / "rounds/assistant/a/abc";
  damage(blob, 77);
  for (const auto& done : {check_backup(to_), restore(to_, fresh_)}) {
    ASSERT_FALSE(done);
    EXPECT_EQ(done.failure().code, errc::corrupt);
    EXPECT_NE(done.failure().message.find("rounds/assistant/a/abc"), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(fresh_));
  damage(blob, 77);
  EXPECT_TRUE(check_backup(to_));
  std::filesystem::remove(blob);
  EXPECT_FALSE(check_backup(to_));
  EXPECT_FALSE(restore(to_, fresh_));
  EXPECT_FALSE(std::filesystem::exists(fresh_));
}

TEST_F(backup_test, an_index_that_points_outside_is_refused) {
  ASSERT_TRUE(back_up());
  auto index = nlohmann::json::parse(text_of(to_ / "backup.json"));
  for (const std::string name : {"../state/cluster.yaml", "/etc/passwd", ""}) {
    index["files"][0]["name"] = name;
    write(to_ / "backup.json", index.dump());
    EXPECT_EQ(restore(to_, fresh_).failure().code, errc::corrupt) << name;
  }
  write(to_ / "backup.json", "{}");
  EXPECT_EQ(restore(to_, fresh_).failure().code, errc::corrupt);
  EXPECT_EQ(restore(folder_ / "nowhere", fresh_).failure().code, errc::not_found);
}

TEST_F(backup_test, never_overwrites) {
  ASSERT_TRUE(back_up());
  EXPECT_EQ(back_up().failure().code, errc::conflict);
  EXPECT_EQ(restore(to_, state_).failure().code, errc::conflict);
  EXPECT_EQ(store::back_up(folder_ / "nowhere", parts_, fresh_).failure().code, errc::not_found);
  EXPECT_FALSE(std::filesystem::exists(fresh_)) << "nothing is left of what was no backup";
}

TEST_F(backup_test, does_not_lie_in_the_state_that_it_copies) {
  std::filesystem::create_directory_symlink(state_, folder_ / "other name");
  for (const auto& inside : {state_, state_ / "rounds/kept", folder_ / "other name/kept"}) {
    const auto done = store::back_up(state_, parts_, inside);
    ASSERT_FALSE(done) << inside;
    EXPECT_EQ(done.failure().code, errc::bad_request) << done.failure().message;
    EXPECT_NE(done.failure().message.find("outside"), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(state_ / "rounds/kept"));
  EXPECT_TRUE(store::back_up(state_, parts_, folder_ / "state-kept")) << "a name like its own";
}

TEST_F(backup_test, a_damaged_database_is_no_backup) {
  journal_.reset();
  damage(state_ / "rounds.db", 4096);  // the second page's kind
  const auto done = back_up();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.failure().code, errc::corrupt);
  EXPECT_NE(done.failure().message.find("rounds.db"), std::string::npos);
  EXPECT_FALSE(check_backup(to_));
}

TEST_F(backup_test, a_disk_that_fails_at_any_call_leaves_no_whole_backup_and_no_state) {
  int calls = 0;
  {
    failing_disk counting(1000);
    ASSERT_TRUE(back_up(counting));
    calls = counting.calls();
  }
  for (int at = 0; at < calls; ++at) {
    std::filesystem::remove_all(to_);
    failing_disk failing(at);
    EXPECT_FALSE(back_up(failing)) << at;
    EXPECT_FALSE(check_backup(to_)) << at;
  }
  std::filesystem::remove_all(to_);
  ASSERT_TRUE(back_up());
  for (int at = 0;; ++at) {
    failing_disk failing(at);
    const auto done = restore(to_, fresh_, failing);
    if (done) break;
    ASSERT_LT(at, 100);
    EXPECT_FALSE(std::filesystem::exists(fresh_)) << at;
  }
}

}  // namespace
}  // namespace collm::store
