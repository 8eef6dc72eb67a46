#include "store/site_data.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "tests/support/raw_database.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::store {
namespace {

class site_data_test : public store_folder {
 protected:
  std::unique_ptr<site_data> open(const split_shares& shares = default_shares,
                                  const site_limits& bounds = {}) {
    auto opened = site_data::open(folder_ / "site.db", shares, bounds);
    EXPECT_TRUE(opened) << (opened ? "" : opened.failure().message);
    return std::move(*opened);
  }
  static std::string chat(const std::string& question, const std::string& answer) {
    return R"({"messages":[{"role":"user","content":")" + question +
           R"("},{"role":"assistant","content":")" + answer + "\"}]}\n";
  }
  static std::string many(int from, int to) {
    std::string text;
    for (int i = from; i < to; ++i) text += chat("question " + std::to_string(i), "answer");
    return text;
  }
  static std::vector<site_row> all(site_data& d, data_set s) { return *d.rows(s, 0, 1000000); }
};

TEST_F(site_data_test, both_kinds_of_lines_are_taken_in_and_read_back) {
  auto d = open({1, 0, 0, 0, 0});
  const auto report =
      d->import_text("mine.jsonl", chat("What?", "That.") +
                                       "{\"prompt\":\"Once\",\"completion\":\" upon\"}\r\n\n");
  ASSERT_TRUE(report);
  EXPECT_EQ(report->added, 2u);
  const auto rows = all(*d, data_set::train);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].messages, R"([{"role":"user","content":"What?"}])");
  EXPECT_EQ(rows[0].completion, "That.");
  EXPECT_EQ(rows[1].prompt, "Once");
  EXPECT_EQ(rows[1].completion, " upon");
  EXPECT_EQ(all(*open({1, 0, 0, 0, 0}), data_set::train).size(), 2u);
}

TEST_F(site_data_test, bad_lines_are_counted_and_named_and_hinder_no_other) {
  auto d = open();
  const std::vector<std::string> bad = {
      "no json",
      "[1, 2]",
      "{}",
      R"({"prompt":"a"})",
      R"({"prompt":"a","completion":""})",
      R"({"prompt":7,"completion":"b"})",
      R"({"messages":[]})",
      R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]})",
      R"({"messages":[{"role":"wizard","content":"a"},{"role":"assistant","content":"b"}]})",
      R"({"messages":[{"role":"user"},{"role":"assistant","content":"b"}]})",
      R"({"messages":[{"role":"user","content":["a"]},{"role":"assistant","content":"b"}]})",
      R"({"messages":["user",{"role":"assistant","content":"b"}]})",
      "{\"prompt\":\"\xff\",\"completion\":\"b\"}",
      std::string(2000, '[')};
  std::string text = chat("fine", "yes");
  for (const auto& line : bad) text += line + "\n";
  text += chat("fine too", "yes");
  const auto report = d->import_text("mixed.jsonl", text);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->added, 2u);
  EXPECT_EQ(report->bad, bad.size());
  ASSERT_EQ(report->first_bad.size(), bad.size());
  EXPECT_EQ(report->first_bad[0].line, 2u);
  EXPECT_EQ(report->first_bad[0].file, "mixed.jsonl");
  EXPECT_NE(report->first_bad[8].reason.find("role"), std::string::npos);
  EXPECT_EQ(report->first_bad[8].reason.find("wizard"), std::string::npos) << "nothing is quoted";
  EXPECT_NE(report->first_bad[9].reason.find("messages[0]"), std::string::npos);
}

TEST_F(site_data_test, at_most_twenty_bad_lines_are_told) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "bad\n";
  const auto report = open()->import_text("bad.jsonl", text);
  EXPECT_EQ(report->bad, 100u);
  EXPECT_EQ(report->first_bad.size(), bad_lines_told);
}

TEST_F(site_data_test, the_sets_are_disjoint_and_of_their_size_and_keep_prompts_together) {
  auto d = open();
  ASSERT_TRUE(d->import_text("a", many(0, 5000)));
  for (int i = 0; i < 200; ++i)
    ASSERT_TRUE(d->import_text("b", chat("question " + std::to_string(i), "another answer")));
  std::map<std::string, data_set> set_of_prompt;
  std::size_t rows = 0;
  for (auto s :
       {data_set::train, data_set::gate, data_set::canary, data_set::served, data_set::report}) {
    for (const auto& row : all(*d, s)) {
      EXPECT_EQ(set_of_prompt.emplace(row.messages, s).first->second, s) << row.messages;
      ++rows;
    }
  }
  EXPECT_EQ(rows, 5200u);
  const auto counts = *d->counts();
  EXPECT_NEAR(static_cast<double>(counts[0]), 5200 * .70, 150);
  EXPECT_NEAR(static_cast<double>(counts[1]), 5200 * .12, 80);
  EXPECT_GT(counts[2], 180u);
}

TEST_F(site_data_test, the_same_lines_again_are_known_and_change_nothing) {
  auto d = open();
  ASSERT_TRUE(d->import_text("a", many(0, 50)));
  const auto before = *d->counts();
  const auto again = d->import_text("b", many(0, 51));
  EXPECT_EQ(again->added, 1u);
  EXPECT_EQ(again->known, 50u);
  EXPECT_EQ(open({.7, .12, .05, .05, .08})->counts()->at(0), d->counts()->at(0));
  EXPECT_GE(d->counts()->at(0), before[0]);
}

TEST_F(site_data_test, other_shares_are_refused_for_a_row_never_changes_its_set) {
  open();
  const auto other = site_data::open(folder_ / "site.db", {1, 0, 0, 0, 0});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.failure().code, errc::conflict);
  EXPECT_FALSE(site_data::open(folder_ / "new.db", {.5, 0, 0, 0, 0}));
  EXPECT_FALSE(site_data::open(folder_ / "new.db", {1.5, -.5, 0, 0, 0}));
}

TEST_F(site_data_test, a_growing_folder_is_read_on_in_whole_lines) {
  const auto folder = folder_ / "in";
  std::filesystem::create_directories(folder);
  auto d = open();
  write(folder / "a.jsonl", many(0, 3) + "bad\n");
  write(folder / "notes.txt", "not for us");
  EXPECT_EQ(d->import_folder(folder)->added, 3u);
  EXPECT_EQ(d->import_folder(folder)->added, 0u);
  const auto line = chat("later", "yes");
  append(folder / "a.jsonl", line.substr(0, 20));  // its writer is not done
  EXPECT_EQ(d->import_folder(folder)->bad, 0u);
  append(folder / "a.jsonl", line.substr(20) + "worse\n");
  const auto report = d->import_folder(folder);
  EXPECT_EQ(report->added, 1u);
  ASSERT_EQ(report->bad, 1u);
  EXPECT_EQ(report->first_bad[0].line, 6u);
  write(folder / "b.jsonl", many(10, 12));
  EXPECT_EQ(open()->import_folder(folder)->added, 2u);
}

TEST_F(site_data_test, a_file_that_was_exchanged_is_read_anew) {
  const auto folder = folder_ / "in";
  std::filesystem::create_directories(folder);
  auto d = open();
  write(folder / "a.jsonl", many(0, 5));
  ASSERT_TRUE(d->import_folder(folder));
  write(folder / "a.jsonl", many(7, 9));
  EXPECT_EQ(d->import_folder(folder)->added, 2u);
  write(folder / "a.jsonl", many(20, 40));
  EXPECT_EQ(d->import_folder(folder)->added, 20u);
  EXPECT_EQ(d->import_folder(folder_ / "none").failure().code, errc::not_found);
}

TEST_F(site_data_test, feedback_joins_the_question_that_was_served) {
  auto d = open({1, 0, 0, 0, 0}, {.remembered_max = 3});
  ASSERT_TRUE(d->remember("r1", {R"([{"role":"user","content":"Where?"}])", ""}));
  ASSERT_TRUE(d->remember("r2", {"", "[plain text"}));
  EXPECT_EQ(*d->add_feedback("r1", "", "Here."), data_set::train);
  ASSERT_TRUE(d->add_feedback("r2", "", " goes on]"));
  const auto rows = all(*d, data_set::train);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].messages, R"([{"role":"user","content":"Where?"}])");
  EXPECT_EQ(rows[0].completion, "Here.");
  EXPECT_EQ(rows[1].prompt, "[plain text");
  EXPECT_EQ(d->import_text("same", chat("Where?", "Here."))->known, 1u);
  EXPECT_EQ(d->add_feedback("r9", "", "x").failure().code, errc::not_found);
  EXPECT_EQ(d->add_feedback("r1", "", "").failure().code, errc::bad_request);
  for (int i = 3; i < 6; ++i) ASSERT_TRUE(d->remember("r" + std::to_string(i), {"", "q"}));
  EXPECT_EQ(d->add_feedback("r1", "", "y").failure().code, errc::not_found);
}

TEST_F(site_data_test, feedback_is_the_askers_alone_and_the_operators) {
  auto d = open({1, 0, 0, 0, 0});
  ASSERT_TRUE(d->remember("r1", {"", "q1", "cook"}));
  ASSERT_TRUE(d->remember("r2", {"", "q2", ""}));
  const auto other = d->add_feedback("r1", "baker", "x"),
             none = d->add_feedback("r9", "baker", "x");
  EXPECT_EQ(other.failure().code, errc::not_found);
  EXPECT_EQ(other.failure().message, "request r1 was not served here, or too long ago");
  EXPECT_EQ(none.failure().message, "request r9 was not served here, or too long ago");
  EXPECT_EQ(d->add_feedback("r2", "cook", "x").failure().code, errc::not_found);
  EXPECT_EQ(all(*d, data_set::train).size(), 0u);
  EXPECT_TRUE(d->add_feedback("r1", "cook", "a1"));
  EXPECT_TRUE(d->add_feedback("r1", "", "a2"));
  EXPECT_EQ(all(*d, data_set::train).size(), 2u);
}

TEST_F(site_data_test, questions_of_an_older_release_have_no_owner) {
  const char* sql =
      "CREATE TABLE rows (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
      "part INTEGER NOT NULL, messages TEXT NOT NULL, prompt TEXT NOT NULL, "
      "completion TEXT NOT NULL);"
      "CREATE INDEX rows_of_part ON rows (part, number);"
      "CREATE TABLE sources (path TEXT PRIMARY KEY, read_to INTEGER NOT NULL, "
      "lines INTEGER NOT NULL, head TEXT NOT NULL);"
      "CREATE TABLE requests (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
      "messages TEXT NOT NULL, prompt TEXT NOT NULL);"
      "CREATE TABLE shares (text TEXT NOT NULL);"
      "INSERT INTO requests VALUES (1, 'r1', '', 'Once');"
      "PRAGMA application_id = 1129270355; PRAGMA user_version = 1;";
  ASSERT_NO_FATAL_FAILURE(run_sql(folder_ / "site.db", sql));
  auto d = open({1, 0, 0, 0, 0});
  EXPECT_EQ(d->add_feedback("r1", "cook", "x").failure().code, errc::not_found);
  EXPECT_TRUE(d->add_feedback("r1", "", " upon"));
}

TEST_F(site_data_test, the_cursor_walks_in_arrival_order_and_goes_on_where_it_was) {
  auto d = open({1, 0, 0, 0, 0});
  ASSERT_TRUE(d->import_text("a", many(0, 10)));
  const auto first = *d->rows(data_set::train, 0, 4);
  ASSERT_EQ(first.size(), 4u);
  const auto next = *d->rows(data_set::train, first.back().number, 4);
  EXPECT_EQ(next.front().number, first.back().number + 1);
  EXPECT_NE(next.front().id, first.back().id);
}

TEST_F(site_data_test, the_order_of_the_gate_follows_from_its_key_alone) {
  auto d = open({0, 1, 0, 0, 0});
  ASSERT_TRUE(d->import_text("a", many(0, 40)));
  const auto ids = [&](const std::string& key, std::uint32_t first, std::uint32_t count) {
    const auto rows = d->ordered(data_set::gate, key, first, count);
    std::vector<std::string> out;
    for (const auto& row : *rows) out.push_back(row.id);
    return out;
  };
  const auto all_ids = ids("assistant@7", 0, 100);
  EXPECT_EQ(all_ids.size(), 40u);
  EXPECT_EQ(std::set<std::string>(all_ids.begin(), all_ids.end()).size(), 40u);
  EXPECT_EQ(ids("assistant@7", 8, 8),
            std::vector<std::string>(all_ids.begin() + 8, all_ids.begin() + 16));
  EXPECT_NE(ids("assistant@8", 0, 100), all_ids);
  EXPECT_TRUE(ids("assistant@7", 40, 8).empty());
}

TEST_F(site_data_test, too_many_rows_are_refused_whole_and_too_long_lines_named) {
  auto d = open(default_shares, {.rows_max = 10, .line_bytes_max = 200});
  ASSERT_TRUE(d->import_text("a", many(0, 8)));
  const auto over = d->import_text("b", many(8, 11));
  ASSERT_FALSE(over);
  EXPECT_EQ(over.failure().code, errc::overloaded);
  EXPECT_EQ(d->import_text("c", many(8, 10))->added, 2u);
  EXPECT_EQ(d->import_text("d", chat("q", std::string(300, 'x')))->bad, 1u);
}

TEST_F(site_data_test, feedback_fills_a_store_no_further_than_files_do) {
  auto d = open({1, 0, 0, 0, 0}, {.rows_max = 2});
  ASSERT_TRUE(d->remember("r1", {"", "q1"}));
  EXPECT_TRUE(d->add_feedback("r1", "", "a1"));
  EXPECT_TRUE(d->add_feedback("r1", "", "a2"));
  const auto over = d->add_feedback("r1", "", "a3");
  ASSERT_FALSE(over);
  EXPECT_EQ(over.failure().code, errc::overloaded);
  EXPECT_EQ(all(*d, data_set::train).size(), 2u);
}

}  // namespace
}  // namespace collm::store
