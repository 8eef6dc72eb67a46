// The workload file: what is written is read back; what is wrong is refused by its line.
#include "bench/workload.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace collm::bench {
namespace {

constexpr const char* least = R"({"t_ms":5,"messages":[{"role":"user","content":"hi"}]})";

result<workload> read(const std::string& text, const workload_limits& bounds = {}) {
  std::istringstream in(text);
  return read_workload(in, "day.jsonl", bounds);
}

std::string complaint_about(const std::string& text, const workload_limits& bounds = {}) {
  const auto read_back = read(text, bounds);
  return read_back ? "no complaint" : read_back.failure().message;
}

std::string with(const std::string& field) {
  return R"({"t_ms":5,"messages":[{"role":"user","content":"hi"}],)" + field + "}\n";
}

TEST(bench_workload, what_is_written_is_read_back) {
  workload w;
  w.made = R"({"arrivals":"poisson","seed":7})";
  w.requests.push_back({12,
                        "acme",
                        "kitchen",
                        "assistant",
                        {{"system", "kitchen devices"}, {"user", "grüße \"hood\"\n"}},
                        R"({"fan":"on"})",
                        scorer::exact,
                        40,
                        "report"});
  w.requests.push_back({12, "", "", "", {{"user", "x"}}, "", scorer::none, 1, "served"});
  std::ostringstream out;
  write_workload(out, w);
  const auto back = read(out.str());
  ASSERT_TRUE(back) << back.failure().message;
  EXPECT_EQ(back->made, w.made);
  ASSERT_EQ(back->requests.size(), 2u);
  const request& r = back->requests[0];
  EXPECT_EQ(r.t_ms, 12u);
  EXPECT_EQ(r.tenant + r.site + r.adapter, "acmekitchenassistant");
  EXPECT_EQ(r.messages[1].content, "grüße \"hood\"\n");
  EXPECT_EQ(r.reference, R"({"fan":"on"})");
  EXPECT_EQ(r.judged_by, scorer::exact);
  EXPECT_EQ(r.max_tokens, 40u);
  EXPECT_EQ(r.split, "report");
  std::ostringstream again;
  write_workload(again, *back);
  EXPECT_EQ(again.str(), out.str());
}

TEST(bench_workload, fields_other_than_time_and_messages_have_defaults) {
  const auto w = read(least);
  ASSERT_TRUE(w) << w.failure().message;
  EXPECT_EQ(w->requests[0].judged_by, scorer::none);
  EXPECT_EQ(w->requests[0].max_tokens, 64u);
  EXPECT_EQ(w->requests[0].split, "served");
  EXPECT_EQ(w->made, "{}");
}

TEST(bench_workload, header_may_be_absent_and_windows_line_ends_are_read) {
  const auto w = read(std::string("{\"workload\":1}\r\n") + least + "\r\n\r\n" + least + "\r\n");
  ASSERT_TRUE(w) << w.failure().message;
  EXPECT_EQ(w->requests.size(), 2u);
}

TEST(bench_workload, complaints_name_file_line_and_field) {
  const std::string good = std::string(least) + "\n";
  EXPECT_EQ(complaint_about(good + "{nonsense"), "day.jsonl:2: is not valid JSON");
  EXPECT_EQ(complaint_about(good + "[1]"), "day.jsonl:2: is not a JSON object");
  EXPECT_EQ(complaint_about(R"({"t_ms":1})"), "day.jsonl:1: messages is missing");
  EXPECT_EQ(complaint_about(R"({"messages":[]})"), "day.jsonl:1: t_ms is missing");
  EXPECT_THAT(complaint_about(good + with(R"("max_tokens":0)")),
              testing::StartsWith("day.jsonl:2: max_tokens must be a whole number from 1"));
  EXPECT_THAT(complaint_about(with(R"("max_token":3)")),
              testing::HasSubstr("max_token is unknown"));
  EXPECT_THAT(complaint_about(with(R"("scorer":"fuzzy")")), testing::HasSubstr("\"exact\""));
  EXPECT_THAT(complaint_about(with(R"("site":3)")), testing::HasSubstr("site must be a string"));
  EXPECT_THAT(complaint_about(with(R"("scorer":"exact")")),
              testing::HasSubstr("reference is missing"));
}

TEST(bench_workload, refuses_times_that_are_negative_broken_or_out_of_order) {
  EXPECT_THAT(complaint_about(R"({"t_ms":-1,"messages":[{"role":"user","content":"a"}]})"),
              testing::HasSubstr("t_ms must be a whole number"));
  EXPECT_THAT(complaint_about(R"({"t_ms":1.5,"messages":[{"role":"user","content":"a"}]})"),
              testing::HasSubstr("t_ms must be a whole number"));
  const std::string earlier = R"({"t_ms":4,"messages":[{"role":"user","content":"a"}]})";
  EXPECT_THAT(complaint_about(std::string(least) + "\n" + earlier),
              testing::HasSubstr("day.jsonl:2: t_ms 4 is before the line above"));
}

TEST(bench_workload, refuses_messages_that_are_not_roles_with_text) {
  for (const char* messages :
       {"[]", "{}", "\"hi\"", "[1]", R"([{"role":"user"}])", R"([{"role":"user","content":1}])",
        R"([{"role":"user","content":"a","name":"b"}])"})
    EXPECT_THAT(complaint_about(std::string(R"({"t_ms":0,"messages":)") + messages + "}"),
                testing::HasSubstr("messages must"))
        << messages;
}

TEST(bench_workload, another_format_version_is_refused_by_name) {
  EXPECT_THAT(complaint_about("{\"workload\":2}\n"), testing::HasSubstr("workload 2 is not"));
}

TEST(bench_workload, a_line_that_nests_without_end_is_refused) {
  const std::string deep = std::string(500000, '[') + std::string(500000, ']');
  EXPECT_THAT(complaint_about(R"({"workload":1,"made":)" + deep + "}"),
              testing::HasSubstr("day.jsonl:1: is not valid JSON"));
}

TEST(bench_workload, an_empty_file_or_a_header_alone_is_refused) {
  EXPECT_EQ(complaint_about(""), "day.jsonl: holds no request");
  EXPECT_EQ(complaint_about("{\"workload\":1}\n"), "day.jsonl: holds no request");
}

TEST(bench_workload, limits_hold_at_the_limit_and_refuse_one_past_it) {
  const std::string line = std::string(least) + "\n";
  workload_limits bounds;
  bounds.requests_max = 2;
  EXPECT_TRUE(read(line + line, bounds));
  EXPECT_THAT(complaint_about(line + line + line, bounds),
              testing::HasSubstr("day.jsonl:3: more than 2 requests"));
  bounds = {};
  bounds.line_bytes_max = std::string(least).size();
  EXPECT_TRUE(read(line, bounds));
  bounds.line_bytes_max -= 1;
  EXPECT_EQ(read(line, bounds).failure().code, errc::too_large);
  bounds = {};
  bounds.t_ms_max = 5;
  EXPECT_TRUE(read(line, bounds));
  bounds.t_ms_max = 4;
  EXPECT_FALSE(read(line, bounds));
  bounds = {};
  bounds.name_bytes_max = 3;
  EXPECT_TRUE(read(with(R"("site":"abc")"), bounds));
  EXPECT_FALSE(read(with(R"("site":"abcd")"), bounds));
}

TEST(bench_workload, refuses_bytes_that_are_not_utf8) {
  EXPECT_THAT(
      complaint_about("{\"t_ms\":0,\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}"),
      testing::HasSubstr("is not valid JSON"));
}

TEST(bench_workload, a_missing_file_is_named) {
  const auto w = read_workload_file("/nowhere/day.jsonl");
  ASSERT_FALSE(w);
  EXPECT_EQ(w.failure().code, errc::io);
  EXPECT_THAT(w.failure().message, testing::StartsWith("/nowhere/day.jsonl: "));
}

}  // namespace
}  // namespace collm::bench
