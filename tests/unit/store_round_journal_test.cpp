#include "store/round_journal.hpp"

#include <sys/wait.h>

#include <csignal>

#include "store/version_store.hpp"
#include "tests/support/raw_database.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::store {
namespace {

class round_journal_test : public store_folder {
 protected:
  std::unique_ptr<round_journal> open() {
    auto opened = open_round_journal(folder_ / "rounds.db");
    EXPECT_TRUE(opened) << (opened ? "" : opened.failure().message);
    return std::move(*opened);
  }
  void change(const std::string& sql) { run_sql(folder_ / "rounds.db", sql); }
};

using lines = std::vector<std::string>;

TEST_F(round_journal_test, gives_back_the_records_of_a_round_in_order) {
  {
    auto j = open();
    ASSERT_TRUE(j->append("assistant", 1, {"opened", "assigned"}));
    ASSERT_TRUE(j->append("other", 1, {"opened x"}));
    ASSERT_TRUE(j->append("assistant", 2, {"opened again"}));
    ASSERT_TRUE(j->append("assistant", 1, {"closed"}));
  }
  auto j = open();
  EXPECT_EQ(*j->read("assistant", 1), (lines{"opened", "assigned", "closed"}));
  EXPECT_EQ(*j->read("other", 1), lines{"opened x"});
  EXPECT_EQ(*j->read("nobody", 1), lines{});
  EXPECT_EQ(*j->rounds("assistant"), (std::vector<std::uint32_t>{1, 2}));
}

TEST_F(round_journal_test, a_changed_missing_or_exchanged_record_is_named) {
  ASSERT_TRUE(open()->append("assistant", 1, {"a", "b", "c", "d"}));
  const auto damaged = [&](const std::string& sql, const std::string& undo) {
    change(sql);
    const auto read = open()->read("assistant", 1);
    EXPECT_FALSE(read) << sql;
    if (!read) {
      EXPECT_EQ(read.failure().code, errc::corrupt);
    }
    change(undo);
    EXPECT_TRUE(open()->read("assistant", 1)) << undo;
  };
  damaged("UPDATE records SET text = 'x' WHERE place = 1",
          "UPDATE records SET text = 'b' WHERE place = 1");
  damaged("UPDATE records SET place = 9 WHERE place = 3",
          "UPDATE records SET place = 3 WHERE place = 9");
  damaged("UPDATE records SET place = 9 WHERE place = 0",
          "UPDATE records SET place = 0 WHERE place = 9");
}

TEST_F(round_journal_test, survives_a_kill_at_any_moment_with_whole_appends) {
  open();
  const auto child = ::fork();
  if (child == 0) {
    auto j = open_round_journal(folder_ / "rounds.db");
    for (int i = 0;; ++i) {
      const auto n = std::to_string(i);
      if (!(*j)->append("assistant", 1, {"first " + n, "second " + n})) ::_exit(1);
    }
  }
  std::size_t seen = 0;
  while (seen < 40) {  // until it has written for a while
    const auto now = open()->read("assistant", 1);
    if (now) seen = now->size();
  }
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto left = open()->read("assistant", 1);
  ASSERT_TRUE(left) << left.failure().message;
  ASSERT_GE(left->size(), seen);
  EXPECT_EQ(left->size() % 2, 0u);
  for (std::size_t i = 0; i < left->size(); ++i)
    EXPECT_EQ((*left)[i], (i % 2 == 0 ? "first " : "second ") + std::to_string(i / 2));
  EXPECT_TRUE(open()->append("assistant", 1, {"after"}));
}

TEST_F(round_journal_test, the_registrys_file_is_not_taken_for_a_journal) {
  ASSERT_TRUE(open_version_store(folder_ / "rounds.db"));
  const auto opened = open_round_journal(folder_ / "rounds.db");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.failure().code, errc::conflict) << "it is whole, and not ours to move away";
}

}  // namespace
}  // namespace collm::store
