#include "deploy/audit_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "gateway/audit.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::deploy {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class audit : public store::store_folder {
 protected:
  std::unique_ptr<audit_log> open(const std::string& name, std::uint64_t bytes_max = 1000) {
    auto made = audit_log::open(folder_ / "audit", name, bytes_max);
    EXPECT_TRUE(made) << (made ? "" : made.failure().message);
    return std::move(*made);
  }
};

TEST_F(audit, lines_outlive_their_process_and_are_the_owners_alone) {
  open("head")->add(R"({"time":"1"})");
  open("head")->add(R"({"time":"2"})");
  EXPECT_THAT(open("head")->last(10), ElementsAre(R"({"time":"1"})", R"({"time":"2"})"));
  struct stat about {};
  ASSERT_EQ(::stat((folder_ / "audit").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat((folder_ / "audit/head.jsonl").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
}

TEST_F(audit, shows_the_last_lines_of_all_gateways_by_their_time) {
  const auto head = open("head"), node = open("edge-a");
  head->add(R"({"time":"1"})");
  node->add(R"({"time":"2"})");
  head->add(R"({"time":"3"})");
  EXPECT_THAT(head->last(2), ElementsAre(R"({"time":"2"})", R"({"time":"3"})"));
  EXPECT_EQ(node->last(10), head->last(10));
}

TEST_F(audit, a_line_that_was_cut_takes_no_other_with_it) {
  open("head")->add(R"({"time":"1"})");
  std::ofstream(folder_ / "audit/head.jsonl", std::ios::app) << R"({"time":"2)";
  open("head")->add(R"({"time":"3"})");
  EXPECT_THAT(open("head")->last(10),
              ElementsAre(R"({"time":"1"})", R"({"time":"2)", R"({"time":"3"})"));
}

TEST_F(audit, is_bounded_and_drops_the_oldest) {
  const auto log = open("head");
  for (int i = 1000; i < 1400; ++i) log->add("{\"time\":\"" + std::to_string(i) + "\"}");
  std::uint64_t bytes = 0, files = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "audit")) {
    bytes += entry.file_size();
    ++files;
  }
  EXPECT_EQ(files, 4u);
  EXPECT_LE(bytes, 4000u);
  const auto kept = log->last(10'000);
  EXPECT_EQ(kept.back(), R"({"time":"1399"})");
  EXPECT_GT(kept.size(), 150u);
}

TEST_F(audit, a_folder_that_cannot_be_made_is_named) {
  std::ofstream(folder_ / "audit") << "a file";
  const auto made = audit_log::open(folder_ / "audit", "head");
  ASSERT_FALSE(made);
  EXPECT_THAT(made.failure().message, testing::HasSubstr((folder_ / "audit").string()));
}

TEST(audit_line, is_one_line_whatever_was_asked) {
  const auto line = gateway::audit_line(
      {"head", "admin key", "::1", "POST /x", "a\nb\"\xff" + std::string(5000, 'z'), "id", 0},
      1769860800123);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_LT(line.size(), 1500u);
  EXPECT_THAT(line, testing::StartsWith(R"({"time":"2026-01-31T12:00:00.123Z","gateway":"head")"));
  EXPECT_THAT(line, testing::HasSubstr(R"("outcome":"the caller left")"));
}

}  // namespace
}  // namespace collm::deploy
