// What verbs show of rounds, verdicts and jobs, and how a file is cut and foretold.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/training_view.hpp"

namespace collm::cli {
namespace {

using testing::HasSubstr;

json rounds() {
  return json::parse(R"({"rounds": [
    {"adapter": "assistant", "number": 1, "state": "serving", "parent": 0, "version": 1,
    "ageMs": 90000,
     "quorum": 2, "aggregate": "rolora", "error": 0.0125, "reason": "",
     "participants": [
       {"client": "edge-a/0", "site": "kitchen", "state": "accepted", "steps": 6, "step": 6,
       "tokens": 5120,
        "digest": "0123456789abcdef"},
       {"client": "edge-b/0", "site": "workshop", "state": "declined", "steps": 6, "step": 0,
        "reason": "no sample to train on"}]},
    {"adapter": "chef", "number": 2, "state": "training", "parent": 1, "version": 0,
    "ageMs": 1000}]})");
}

template <class F>
std::string shown(F&& make) {
  std::ostringstream out, err;
  return make(console(out, err, false));
}

TEST(training_view, lists_rounds_with_what_came_of_them) {
  const auto text = rounds_text(rounds());
  EXPECT_THAT(text, HasSubstr("assistant  serving   @0    assistant@1  1/2      90 s ago"));
  EXPECT_THAT(text, HasSubstr("chef       training  @1    -            0/0      1 s ago"));
  EXPECT_EQ(rounds_text(json::object()), "no round yet\n");
}

TEST(training_view, shows_a_round_and_who_gave_what) {
  const auto all = rounds();
  const json* round = find_round(all, "", 1);
  ASSERT_NE(round, nullptr);
  const auto text = shown([&](const console& io) { return round_text(*round, io); });
  EXPECT_THAT(text, HasSubstr("round 1 of assistant: serving"));
  EXPECT_THAT(text, HasSubstr("rolora, quorum 2, aggregation error 1.25 %"));
  EXPECT_THAT(text, HasSubstr("0123456789ab"));
  EXPECT_THAT(text, HasSubstr("no sample to train on"));
  EXPECT_EQ(find_round(all, "assistant", 2), nullptr);
  EXPECT_NE(find_round(all, "chef", 2), nullptr);
}

TEST(training_view, explains_a_promotion_site_by_site) {
  const auto e =
      json::parse(R"j({"version": {"adapter": "assistant", "number": 3, "state": "rejected"},
    "round": 4, "verdict": "vetoed by workshop", "look": 32, "count": 32, "mean": 0.12,
    "lower": 0.05,
    "margin": 0.005, "sites": [{"site": "kitchen", "count": 16, "mean": 0.3, "bound": 0.2},
      {"site": "workshop", "count": 7, "mean": -0.06, "bound": -0.1, "weak": true, "veto": true},
      {"site": "(guard)", "count": 16, "mean": -0.9, "bound": -1.2}],
    "silent": ["office"]})j");
  const auto text = shown([&](const console& io) { return explanation_text(e, io); });
  EXPECT_THAT(text, HasSubstr("assistant@3: rejected\nvetoed by workshop\n"));
  EXPECT_THAT(text, HasSubstr("better by +0.1200 nats a token, at least +0.0500; margin -0.0050"));
  EXPECT_THAT(text, HasSubstr("workshop  7          -0.0600    -0.1000   veto"));
  EXPECT_THAT(text, HasSubstr("(guard)   16         -0.9000    -1.2000   general text"));
  EXPECT_THAT(text, HasSubstr("office did not answer"));
  EXPECT_THAT(text, HasSubstr("made by round 4"));
}

TEST(training_view, says_what_a_replay_leaves_out) {
  const auto text = replay_text(json::parse(
      R"({"adapter": "assistant", "round": 2, "without": "edge-b/0", "digest": "aa",
      "original": "bb",
          "updates": 1, "relativeChange": 0.25, "builtOn": [3, 5]})"));
  EXPECT_THAT(text, HasSubstr("without edge-b/0: 1 updates, factors change by 25.00 %"));
  EXPECT_THAT(text, HasSubstr("would change too: 3, 5"));
}

TEST(training_view, lists_jobs) {
  const auto jobs =
      json::parse(R"({"jobs": [{"id": "ftjob-1", "adapter": "assistant", "state": "running",
      "rounds": 8, "done": 3, "promoted": 2, "version": 2, "tokens": 12000}]})");
  EXPECT_THAT(jobs_text(jobs), HasSubstr("ftjob-1  assistant  running  3/8     2          @2"));
  EXPECT_NE(find_job(jobs, "ftjob-1"), nullptr);
  EXPECT_EQ(find_job(jobs, "ftjob-2"), nullptr);
}

TEST(training_view, reads_versions_by_name_and_number) {
  EXPECT_EQ(parse_version("assistant@12")->number, 12u);
  EXPECT_EQ(parse_version("assistant")->adapter, "assistant");
  EXPECT_EQ(parse_version("assistant")->number, 0u);
  for (const char* wrong : {"", "@3", "a@", "a@x", "a@3x", "a@-1"})
    EXPECT_FALSE(parse_version(wrong)) << wrong;
}

TEST(adapt, cuts_a_file_between_lines_and_keeps_its_numbers) {
  const auto parts = split_lines("aaa\nbb\nccccccc\nd", 8);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].text, "aaa\nbb\n");
  EXPECT_EQ(parts[1].text, "ccccccc\n");
  EXPECT_EQ(parts[1].lines_before, 2u);
  EXPECT_EQ(parts[2].text, "d");
  EXPECT_EQ(parts[2].lines_before, 3u);
  EXPECT_EQ(split_lines("a long line\n", 4).size(), 1u);
}

TEST(adapt, foretells_by_what_the_site_trains_now) {
  const auto status = json::parse(R"({"nodes": [
    {"snapshot": {"site": "kitchen", "replicas": [{"trainingTokensPerSecond": 100}],
                  "ledger": [{"name": "shadows", "bytes": 1048576,
                  "budget": 0}, {"name": "kv", "bytes": 9e9}]}},
    {"snapshot": {"site": "workshop", "replicas": [{"trainingTokensPerSecond": 900}]}}]})");
  const auto f = forecast(std::string(24000, 'x') + "\n", status, "kitchen");
  EXPECT_EQ(f.lines, 1u);
  EXPECT_NEAR(f.minutes, 1.0, 0.01);
  EXPECT_THAT(forecast_text(f), HasSubstr("about 1.0 min at the 100 tokens/s of now"));
  EXPECT_THAT(forecast_text(f), HasSubstr("1.0 MiB"));
  const auto idle = forecast("a\nb", status, "office");
  EXPECT_EQ(idle.lines, 2u);
  EXPECT_THAT(forecast_text(idle), HasSubstr("the site trains nothing now"));
}

TEST(training_view, forecasts_an_idle_site_by_the_speed_at_which_it_reads) {
  const auto idle = forecast(std::string(24000, 'x'), json::object(), "office");
  const auto f = forecast_by_reading(idle, 300);
  EXPECT_NEAR(f.minutes, 1.0, 0.01);
  EXPECT_THAT(forecast_text(f), HasSubstr("about 1.0 min at a third of the 300 tokens/s"));
  EXPECT_EQ(forecast_json(f)["read_tokens_per_s"], 300);
  EXPECT_EQ(forecast_by_reading(idle, 0).minutes, 0) << "it could not be asked";
  auto trains = idle;
  trains.tokens_per_s = 100, trains.minutes = 1;
  EXPECT_EQ(forecast_by_reading(trains, 9).minutes, 1) << "what is measured stands";
}

TEST(training_view, sums_what_held_out_data_gained_over_the_versions_of_a_job) {
  held_out_gain gain;
  EXPECT_THAT(gain_text(gain, "kitchen"), HasSubstr("no version went live"));
  const auto explained = [](double mean) {
    return json{{"sites",
                 {{{"site", "workshop"}, {"mean", 9}, {"count", 9}},
                  {{"site", "kitchen"}, {"mean", mean}, {"count", 16}}}}};
  };
  add_gain(gain, explained(0.5), "kitchen");
  add_gain(gain, explained(0.25), "kitchen");
  EXPECT_EQ(gain_text(gain, "kitchen"),
            "held-out data of kitchen: better by 0.7500 nats a token than before (2 versions, 16 "
            "sequences)\n");
  add_gain(gain, explained(-1), "kitchen");
  EXPECT_THAT(gain_text(gain, "kitchen"), HasSubstr("worse by 0.2500"));
}

}  // namespace
}  // namespace collm::cli
