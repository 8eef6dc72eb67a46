// What a played workload shows, from records made by hand.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bench/serving_report.hpp"

namespace collm::bench {
namespace {

using nlohmann::json;

struct scene {
  workload what;
  play_result played;

  played_request& add(outcome how, double ttft, double tpot, double e2el,
                      const std::string& site = "kitchen") {
    request asked;
    asked.site = site;
    what.requests.push_back(asked);
    played_request r;
    r.index = static_cast<std::uint32_t>(played.requests.size());
    r.how = how;
    r.ttft_ms = ttft;
    r.tpot_ms = tpot;
    r.e2el_ms = e2el;
    r.prompt_tokens = 10;
    r.output_tokens = 4;
    played.requests.push_back(r);
    return played.requests.back();
  }
  json report(const report_options& o = {}) const { return serving_report(what, played, o); }
};

TEST(percentile, is_numpys) {
  // numpy.percentile([15, 20, 35, 40, 50], q)
  const std::vector<double> v = {40, 15, 50, 35, 20};
  EXPECT_DOUBLE_EQ(percentile(v, 0), 15);
  EXPECT_DOUBLE_EQ(percentile(v, 25), 20);
  EXPECT_DOUBLE_EQ(percentile(v, 40), 29);
  EXPECT_DOUBLE_EQ(percentile(v, 50), 35);
  EXPECT_DOUBLE_EQ(percentile(v, 99), 49.6);
  EXPECT_DOUBLE_EQ(percentile(v, 100), 50);
  EXPECT_DOUBLE_EQ(percentile({1, 2, 3, 4}, 50), 2.5);
  EXPECT_DOUBLE_EQ(percentile({7}, 99), 7);
  EXPECT_DOUBLE_EQ(percentile({}, 50), 0);
}

TEST(serving_report, counts_every_request_once) {
  scene s;
  s.add(outcome::answered, 10, 5, 30);
  s.add(outcome::refused, 0, 0, 0).error = "HTTP 429: full";
  s.add(outcome::failed, 0, 0, 0).error = "gone";
  s.add(outcome::failed, 0, 0, 0).error = "gone";
  s.played.seconds = 2;
  const auto r = s.report();
  EXPECT_EQ(r["arrived"], 4);
  EXPECT_EQ(r["answered"], 1);
  EXPECT_EQ(r["completed"], 1);
  EXPECT_EQ(r["refused"], 1);
  EXPECT_EQ(r["failed"], 2);
  EXPECT_EQ(r["errors"]["gone"], 2);
  EXPECT_DOUBLE_EQ(r["request_throughput"].get<double>(), 0.5);
  EXPECT_DOUBLE_EQ(r["output_throughput"].get<double>(), 8.0);
  EXPECT_DOUBLE_EQ(r["total_token_throughput"].get<double>(), 28.0);
}

TEST(serving_report, takes_latencies_of_answered_requests_only) {
  scene s;
  s.add(outcome::answered, 10, 4, 30).itl_ms = {1, 3};
  s.add(outcome::answered, 30, 6, 50).itl_ms = {5};
  s.add(outcome::failed, 9999, 9999, 9999).itl_ms = {9999};
  s.played.seconds = 1;
  const auto r = s.report();
  EXPECT_DOUBLE_EQ(r["mean_ttft_ms"].get<double>(), 20);
  EXPECT_DOUBLE_EQ(r["std_ttft_ms"].get<double>(), 10);
  EXPECT_DOUBLE_EQ(r["median_tpot_ms"].get<double>(), 5);
  EXPECT_DOUBLE_EQ(r["mean_itl_ms"].get<double>(), 3);
  EXPECT_DOUBLE_EQ(r["p50_e2el_ms"].get<double>(), 40);
  EXPECT_DOUBLE_EQ(r["p99_e2el_ms"].get<double>(), 49.8);
}

TEST(serving_report, leaves_answers_of_one_token_out_of_tpot) {
  scene s;
  s.add(outcome::answered, 10, 0, 10).output_tokens = 1;
  s.add(outcome::answered, 10, 8, 30);
  EXPECT_DOUBLE_EQ(s.report()["mean_tpot_ms"].get<double>(), 8);
}

TEST(serving_report, calls_good_only_what_holds_every_bound) {
  scene s;
  s.add(outcome::answered, 100, 10, 500);
  s.add(outcome::answered, 101, 10, 500);
  s.add(outcome::answered, 100, 11, 500);
  s.add(outcome::answered, 100, 10, 501);
  s.add(outcome::refused, 1, 1, 1);
  s.played.seconds = 1;
  report_options o;
  o.slo = {100, 10, 500};
  EXPECT_DOUBLE_EQ(s.report(o)["request_goodput"].get<double>(), 1);
  EXPECT_DOUBLE_EQ(s.report(o)["attainment"].get<double>(), 0.2);
  o.slo = {100, 0, 0};  // the others are not bounded
  EXPECT_DOUBLE_EQ(s.report(o)["request_goodput"].get<double>(), 3);
  EXPECT_DOUBLE_EQ(s.report()["request_goodput"].get<double>(), 4);
}

TEST(serving_report, tells_sites_apart) {
  scene s;
  auto& right = s.add(outcome::answered, 1, 1, 1, "kitchen");
  right.judged = right.right = true;
  s.add(outcome::answered, 1, 1, 1, "workshop").judged = true;
  s.add(outcome::refused, 0, 0, 0, "workshop");
  s.played.seconds = 1;
  const auto sites = s.report()["sites"];
  EXPECT_EQ(sites["kitchen"]["exact_match"], 1.0);
  EXPECT_EQ(sites["kitchen"]["correct_on_time"], 1);
  EXPECT_EQ(sites["workshop"]["exact_match"], 0.0);
  EXPECT_EQ(sites["workshop"]["arrived"], 2);
  EXPECT_EQ(sites["workshop"]["refused"], 1);
}

TEST(serving_report, finds_the_busiest_second) {
  scene s;
  s.add(outcome::answered, 100, 0, 0).itl_ms = {100, 100};  // three tokens in second 0
  s.add(outcome::answered, 900, 0, 0).itl_ms = {200, 100};  // one in second 0, two in second 1
  EXPECT_EQ(s.report()["peak_output_throughput"], 4);
}

TEST(serving_report, of_nothing_divides_by_nothing) {
  const auto r = scene{}.report();
  EXPECT_EQ(r["arrived"], 0);
  EXPECT_EQ(r["attainment"], 0);
  EXPECT_EQ(r["median_ttft_ms"], 0);
  EXPECT_FALSE(report_block(r, {}).empty());
}

/// The names of the block's lines, in order, up to our own part.
std::vector<std::string> names(const std::string& block) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < block.size();) {
    const auto end = block.find('\n', at);
    const auto text = block.substr(at, end - at);
    at = end + 1;
    if (text.find("- CoLLM -") != std::string::npos || text.find("-CoLLM-") != std::string::npos)
      return out;
    if (const auto colon = text.find(':'); colon != std::string::npos)
      out.push_back(text.substr(0, colon));
  }
  return out;
}

TEST(report_block, has_the_lines_that_its_readers_know_in_their_order) {
  scene s;
  s.add(outcome::answered, 10, 5, 30);
  s.played.seconds = 1;
  const report_options o;
  auto lines = names(report_block(s.report(o), o));
  // Ours, between theirs: a refusal is not a failure.
  ASSERT_EQ(std::erase(lines, "Refused requests"), 1u);
  std::vector<std::string> expected = {"Successful requests",
                                       "Failed requests",
                                       "Benchmark duration (s)",
                                       "Total input tokens",
                                       "Total generated tokens",
                                       "Request throughput (req/s)",
                                       "Request goodput (req/s)",
                                       "Output token throughput (tok/s)",
                                       "Peak output token throughput (tok/s)",
                                       "Peak concurrent requests",
                                       "Total token throughput (tok/s)"};
  for (const std::string metric : {"TTFT", "TPOT", "ITL", "E2EL"})
    for (const std::string kind : {"Mean ", "Median ", "P99 "})
      expected.push_back(kind + metric + " (ms)");
  EXPECT_EQ(lines, expected);
}

TEST(report_block, begins_and_ends_with_its_rules) {
  const auto block = report_block(scene{}.report(), {});
  EXPECT_EQ(block.find("============ Serving Benchmark Result ============="), 0u) << block;
  EXPECT_TRUE(block.ends_with(std::string(51, '=') + "\n"));
}

TEST(report_block, shows_the_metrics_and_percentiles_that_were_asked_for) {
  scene s;
  s.add(outcome::answered, 10, 5, 30);
  report_options o;
  o.metrics = {"ttft"};
  o.percentiles = {90, 99.9};
  const auto block = report_block(s.report(o), o);
  EXPECT_NE(block.find("P90 TTFT (ms):"), std::string::npos) << block;
  EXPECT_NE(block.find("P99.9 TTFT (ms):"), std::string::npos) << block;
  EXPECT_EQ(block.find("TPOT"), std::string::npos);
}

}  // namespace
}  // namespace collm::bench
