#include "store/job_store.hpp"

#include "tests/support/raw_database.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::store {
namespace {

class job_store_test : public store_folder {
 protected:
  std::unique_ptr<job_store> open() {
    auto opened = open_job_store(folder_ / "jobs.db");
    EXPECT_TRUE(opened) << (opened ? "" : opened.failure().message);
    return std::move(*opened);
  }
  static job_row row(int n, job_state s = job_state::queued) {
    job_row r;
    r.id = "ftjob-" + std::to_string(n);
    r.adapter = "assistant";
    r.state = s;
    return r;
  }
};

TEST_F(job_store_test, gives_back_every_field_after_it_was_opened_again) {
  job_row r{"ftjob-1", "assistant", job_state::running, 7, 3,  2,     5,        11,
            1e9,       "file-1",    1700000000,         0, "", "ann", "kitchen"};
  ASSERT_TRUE(open()->put(r));
  EXPECT_EQ(*open()->list(), std::vector<job_row>{r});
  r.state = job_state::failed;
  r.done = 4;
  r.finished_unix = 1700000100;
  r.message = "too few updates came";
  ASSERT_TRUE(open()->put(r));
  EXPECT_EQ(*open()->list(), std::vector<job_row>{r});
}

TEST_F(job_store_test, a_file_of_an_older_release_is_brought_up_to_date) {
  const char* sql =
      "CREATE TABLE jobs (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
      "adapter TEXT NOT NULL, state INTEGER NOT NULL, rounds INTEGER NOT NULL, "
      "done INTEGER NOT NULL, promoted INTEGER NOT NULL, version INTEGER NOT NULL, "
      "last_round INTEGER NOT NULL, tokens INTEGER NOT NULL, file TEXT NOT NULL, "
      "created INTEGER NOT NULL, finished INTEGER NOT NULL, message TEXT NOT NULL);"
      "INSERT INTO jobs VALUES (1, 'ftjob-1', 'assistant', 0, 0, 0, 0, 0, 0, 0, '', 0, 0, '');"
      "PRAGMA application_id = 1129270356; PRAGMA user_version = 1;";
  ASSERT_NO_FATAL_FAILURE(run_sql(folder_ / "jobs.db", sql));
  EXPECT_EQ(*open()->list(), std::vector<job_row>{row(1)});
}

TEST_F(job_store_test, keeps_the_order_in_which_jobs_came) {
  auto s = open();
  for (int n : {3, 1, 2}) ASSERT_TRUE(s->put(row(n)));
  ASSERT_TRUE(s->put(row(3, job_state::running)));
  std::vector<std::string> ids;
  const auto rows = s->list();
  for (const auto& r : *rows) ids.push_back(r.id);
  EXPECT_EQ(ids, (std::vector<std::string>{"ftjob-3", "ftjob-1", "ftjob-2"}));
}

TEST_F(job_store_test, forgets_the_oldest_that_are_over_and_never_one_that_is_not) {
  auto s = open();
  const int most = static_cast<int>(jobs_max);
  for (int n = 0; n < most; ++n)
    ASSERT_TRUE(s->put(row(n, n == 1 ? job_state::succeeded : job_state::queued)));
  ASSERT_TRUE(s->put(row(most)));
  const auto rows = s->list();
  EXPECT_EQ(rows->size(), jobs_max);
  EXPECT_EQ((*rows)[1].id, "ftjob-2");
  const auto full = s->put(row(most + 1));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.failure().code, errc::overloaded);
  EXPECT_EQ(s->list()->size(), jobs_max);
  EXPECT_TRUE(s->put(row(0, job_state::cancelled))) << "a known one may always change";
}

TEST_F(job_store_test, of_another_program_is_refused_by_name) {
  write(folder_ / "jobs.db", "this is no database, and long enough to be looked at as one");
  const auto opened = open_job_store(folder_ / "jobs.db");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.failure().code, errc::corrupt);
  EXPECT_NE(opened.failure().message.find("jobs.db"), std::string::npos);
}

}  // namespace
}  // namespace collm::store
