// Arrivals and texts to a workload: times and lengths as scaled, answers still determined,
// everything stated.
#include "bench/workload_maker.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "demo/rng.hpp"

namespace collm::bench {
namespace {

constexpr const char* azure =
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n"
    "2023-11-16 18:15:50.9951690,396,109\n"
    "2023-11-16 18:15:51,879,55\n"
    "2023-11-17 00:00:00.5,91,16\n";

result<std::vector<arrival>> trace(const std::string& text, trace_cut cut = {}) {
  std::istringstream in(text);
  return read_trace(in, "azure.csv", cut);
}

TEST(bench_trace, reads_times_from_the_first_arrival_and_lengths) {
  const auto arrivals = trace(azure);
  ASSERT_TRUE(arrivals) << arrivals.failure().message;
  ASSERT_EQ(arrivals->size(), 4u);
  EXPECT_EQ((*arrivals)[0].t_ms, 0u);
  EXPECT_EQ((*arrivals)[1].t_ms, 4315u);  // 50.995 - 46.680
  EXPECT_EQ((*arrivals)[2].t_ms, 4320u);
  EXPECT_EQ((*arrivals)[3].t_ms, 20'653'820u);  // over midnight
  EXPECT_EQ((*arrivals)[1].prompt_tokens, 396u);
  EXPECT_EQ((*arrivals)[1].answer_tokens, 109u);
}

TEST(bench_trace, skips_and_limits) {
  const auto arrivals = trace(azure, {1, 2});
  ASSERT_TRUE(arrivals);
  ASSERT_EQ(arrivals->size(), 2u);
  EXPECT_EQ((*arrivals)[0].t_ms, 0u);
  EXPECT_EQ((*arrivals)[0].prompt_tokens, 396u);
  EXPECT_EQ((*arrivals)[1].t_ms, 5u);
  EXPECT_FALSE(trace(azure, {4, 1}));
  EXPECT_FALSE(trace(azure, {0, 0}));
}

TEST(bench_trace, complaints_name_the_line) {
  EXPECT_THAT(trace("TIME,A,B\n").failure().message,
              testing::StartsWith("azure.csv:1: the columns"));
  const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  for (const char* line :
       {"2023-11-16 18:15:46.6,1", "2023-11-16 18:15:46.6,1,2,3", "2023-11-16 18:15:46.6,-1,2",
        "2023-13-16 18:15:46.6,1,2", "2023-02-30 18:15:46.6,1,2", "2023-11-16 25:15:46,1,2",
        "2023-11-16T18:15:46,1,2", "2023-11-16 18:15:46x,1,2", "2023-11-16 18:15:46.6x,1,2",
        "2023-11-16 18:15:46.6,1,99999999", "18:15:46,1,2", ""}) {
    const auto arrivals = trace(header + "2023-11-16 18:15:46.6,1,2\n" + line + "\n");
    ASSERT_FALSE(arrivals) << line;
    EXPECT_THAT(arrivals.failure().message, testing::StartsWith("azure.csv:3: must be like"))
        << line;
  }
  const auto back = trace(header + "2023-11-16 18:15:46,1,2\n2023-11-16 18:15:45,1,2\n");
  EXPECT_THAT(back.failure().message, testing::HasSubstr("azure.csv:3: is before"));
}

TEST(bench_trace, uniform_arrivals_are_evenly_spaced) {
  const auto arrivals = arrivals_at_rate(spacing::uniform, 4.0, 5, 1);
  for (std::size_t i = 0; i < arrivals.size(); ++i) EXPECT_EQ(arrivals[i].t_ms, 250 * i);
}

TEST(bench_trace, poisson_arrivals_have_the_rate_and_the_spread) {
  const auto arrivals = arrivals_at_rate(spacing::poisson, 10.0, 20'000, 3);
  double sum = 0, squares = 0, short_ones = 0;
  std::uint64_t before = 0;
  for (const arrival& a : arrivals) {
    const double gap = static_cast<double>(a.t_ms - before);
    before = a.t_ms;
    sum += gap;
    squares += gap * gap;
    short_ones += gap < 50;
  }
  const double mean = sum / 20'000, variation = std::sqrt(squares / 20'000 - mean * mean) / mean;
  EXPECT_NEAR(mean, 100.0, 3.0);
  EXPECT_NEAR(variation, 1.0, 0.03);
  EXPECT_NEAR(short_ones / 20'000, 1 - std::exp(-0.5), 0.015);
}

TEST(bench_trace, poisson_arrivals_are_the_seeds) {
  const auto ms = [](std::uint64_t seed) {
    std::vector<std::uint64_t> times;
    for (const arrival& a : arrivals_at_rate(spacing::poisson, 1.0, 50, seed))
      times.push_back(a.t_ms);
    return times;
  };
  EXPECT_EQ(ms(4), ms(4));
  EXPECT_NE(ms(4), ms(5));
}

TEST(bench_texts, demo_texts_are_of_both_sites_distinct_and_scored) {
  const auto texts =
      demo_texts({demo::site::kitchen, demo::site::workshop}, demo::split::report, 500, 2);
  ASSERT_TRUE(texts) << texts.failure().message;
  ASSERT_EQ(texts->size(), 500u);
  std::set<std::string> seen, sites;
  for (const text& t : *texts) {
    seen.insert(t.site + t.messages.back().content);
    sites.insert(t.site);
    EXPECT_EQ(t.judged_by, scorer::exact);
    EXPECT_EQ(t.split, "report");
    EXPECT_EQ(demo::split_of(t.messages.back().content), demo::split::report);
  }
  EXPECT_EQ(seen.size(), 500u);
  EXPECT_EQ(sites, (std::set<std::string>{"kitchen", "workshop"}));
}

result<std::vector<text>> data(const std::string& jsonl) {
  std::istringstream in(jsonl);
  return read_texts(in, "mine.jsonl", {"a", "b"}, scorer::contains);
}

TEST(bench_texts, reads_chats_and_completions_of_a_data_set) {
  const auto texts = data(
      R"({"id":1,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]})"
      "\n"
      R"({"prompt":"p","completion":"c"})");
  ASSERT_TRUE(texts) << texts.failure().message;
  ASSERT_EQ(texts->size(), 2u);
  EXPECT_EQ((*texts)[0].messages.size(), 1u);
  EXPECT_EQ((*texts)[0].reference, "r");
  EXPECT_EQ((*texts)[0].site, "a");
  EXPECT_EQ((*texts)[1].messages[0].content, "p");
  EXPECT_EQ((*texts)[1].reference, "c");
  EXPECT_EQ((*texts)[1].site, "b");
  EXPECT_EQ((*texts)[1].judged_by, scorer::contains);
}

TEST(bench_texts, complaints_name_the_line_of_a_data_set) {
  const std::string good = R"({"prompt":"p","completion":"c"})"
                           "\n";
  for (const char* line :
       {"nonsense", "[]", R"({"prompt":"p"})", R"({"prompt":1,"completion":"c"})",
        R"({"messages":[{"role":"user","content":"q"}]})",
        R"({"messages":[{"role":"assistant","content":"q"}]})", R"({"messages":[3,4]})"}) {
    const auto texts = data(good + line);
    ASSERT_FALSE(texts) << line;
    EXPECT_THAT(texts.failure().message, testing::StartsWith("mine.jsonl:2: must be")) << line;
  }
  EXPECT_FALSE(data(""));
}

text judged(scorer by) {
  return {"kitchen",
          {{"system", "s"}, {"user", std::string(100, 'x')}},
          "{\"fan\":\"on\"}",
          by,
          "served"};
}

std::size_t bytes(const request& r) {
  std::size_t sum = 0;
  for (const message& m : r.messages) sum += m.content.size();
  return sum;
}

TEST(bench_maker, scales_times_and_answer_lengths) {
  making how;
  how.time_scale = 0.5;
  how.length_scale = 0.1;
  const auto w = make_workload({{0, 0, 300}, {1001, 0, 2}}, {judged(scorer::none)}, how);
  ASSERT_TRUE(w) << w.failure().message;
  EXPECT_EQ(w->requests[0].max_tokens, 30u);
  EXPECT_EQ(w->requests[1].max_tokens, 1u);
  EXPECT_EQ(w->requests[1].t_ms, 500u);
  EXPECT_EQ(w->requests[0].tenant, "kitchen");
  EXPECT_EQ(w->requests[0].adapter, "assistant");
}

TEST(bench_maker, a_judged_answer_has_room_however_short_the_trace_says) {
  const auto w = make_workload({{0, 0, 1}}, {judged(scorer::exact)}, {});
  ASSERT_TRUE(w);
  EXPECT_GE(w->requests[0].max_tokens, 12u);
}

TEST(bench_maker, as_is_leaves_prompts_alone) {
  making how;
  how.prompts = fit::as_is;
  const auto w = make_workload({{0, 500, 5}}, {judged(scorer::exact)}, how);
  ASSERT_TRUE(w);
  EXPECT_EQ(bytes(w->requests[0]), 101u);
}

TEST(bench_maker, pads_to_the_scaled_length_and_keeps_the_order_last) {
  making how;
  how.prompts = fit::pad_and_cut;
  how.length_scale = 0.5;
  const auto w = make_workload({{0, 500, 5}, {9, 500, 5}}, {judged(scorer::exact)}, how);
  ASSERT_TRUE(w);
  for (const request& r : w->requests) {
    EXPECT_LE(bytes(r), 1001u);  // 500 tokens * 0.5 * 4 bytes, and the line break
    EXPECT_GE(bytes(r), 940u);
    EXPECT_EQ(r.messages.back().content, std::string(100, 'x'));
    EXPECT_THAT(r.messages.front().content, testing::StartsWith("s\nlog "));
  }
  EXPECT_NE(w->requests[0].messages[0].content, w->requests[1].messages[0].content);
}

TEST(bench_maker, pads_a_prompt_without_system_message_by_one) {
  making how;
  how.prompts = fit::pad_and_cut;
  const auto w =
      make_workload({{0, 100, 5}}, {{"a", {{"user", "hello"}}, "", scorer::none, "served"}}, how);
  ASSERT_TRUE(w);
  ASSERT_EQ(w->requests[0].messages.size(), 2u);
  EXPECT_EQ(w->requests[0].messages[0].role, "system");
}

TEST(bench_maker, cuts_only_what_nothing_judges_and_never_inside_a_character) {
  making how;
  how.prompts = fit::pad_and_cut;
  const auto kept = make_workload({{0, 5, 5}}, {judged(scorer::exact)}, how);
  EXPECT_EQ(bytes(kept->requests[0]), 101u);
  std::string umlauts;
  for (int i = 0; i < 30; ++i) umlauts += "ü";
  for (std::uint32_t tokens = 1; tokens < 20; ++tokens) {
    const auto cut = make_workload({{0, tokens, 5}},
                                   {{"a", {{"user", umlauts}}, "", scorer::none, "served"}}, how);
    ASSERT_TRUE(cut);
    std::ostringstream out;
    write_workload(out, *cut);
    EXPECT_EQ(out.str().find("\\ufffd"), std::string::npos);
    EXPECT_EQ(out.str().find("\xEF\xBF\xBD"), std::string::npos);
    EXPECT_GE(bytes(cut->requests[0]), 2u);
    EXPECT_LE(bytes(cut->requests[0]), std::max<std::size_t>(2, 4u * tokens + 1));
  }
}

TEST(bench_maker, header_states_scales_seed_and_sources) {
  making how;
  how.prompts = fit::pad_and_cut;
  how.length_scale = 0.05;
  how.time_scale = 2;
  how.seed = 9;
  how.arrivals_from = told("azure.csv", {100, 50}, 50);
  how.texts_from = "demo";
  const auto w = make_workload({{0, 9, 9}}, {judged(scorer::exact)}, how);
  ASSERT_TRUE(w);
  const auto made = nlohmann::json::parse(w->made);
  EXPECT_EQ(made["length_scale"], 0.05);
  EXPECT_EQ(made["time_scale"], 2.0);
  EXPECT_EQ(made["seed"], 9);
  EXPECT_EQ(made["arrivals"], "azure.csv, arrivals 101 to 150");
  EXPECT_EQ(made["texts"], "demo");
  EXPECT_EQ(made["bytes_per_token"], 4.0);
}

/// Flips, cuts and doubles bytes of `good`; the parsers must answer, whatever comes.
template <class Parse>
void survives_damage(const std::string& good, Parse parse) {
  demo::rng random(23);
  int refused = 0;
  for (int n = 0; n < 3000; ++n) {
    std::string bad = good;
    for (std::uint32_t hits = 1 + random.below(3); hits > 0 && !bad.empty(); --hits) {
      const std::size_t at = random.below(static_cast<std::uint32_t>(bad.size()));
      switch (random.below(3)) {
        case 0:
          bad[at] = static_cast<char>(random.below(256));
          break;
        case 1:
          bad.resize(at);
          break;
        default:
          bad.insert(at, bad.substr(at / 2, 9));
      }
    }
    refused += !parse(bad);
  }
  EXPECT_GT(refused, 300);
  EXPECT_LT(refused, 3000);
}

TEST(bench_fuzz, workload_trace_and_text_readers_survive_damaged_files) {
  const auto texts = demo_texts({demo::site::kitchen}, demo::split::served, 3, 1);
  std::ostringstream file;
  write_workload(file, *make_workload(arrivals_at_rate(spacing::uniform, 9, 3, 1), *texts, {}));
  survives_damage(file.str(), [](const std::string& bytes) {
    std::istringstream in(bytes);
    return static_cast<bool>(read_workload(in, "damaged"));
  });
  survives_damage(azure, [](const std::string& bytes) { return static_cast<bool>(trace(bytes)); });
  survives_damage(
      "{\"prompt\":\"p\",\"completion\":\"c\",\"note\":\"many bytes that do not matter\"}",
      [](const std::string& bytes) { return static_cast<bool>(data(bytes)); });
}

TEST(bench_maker, same_seed_gives_the_same_file) {
  const auto file = [](std::uint64_t seed) {
    making how;
    how.prompts = fit::pad_and_cut;
    how.seed = seed;
    std::ostringstream out;
    write_workload(out, *make_workload({{0, 200, 5}, {8, 300, 5}}, {judged(scorer::exact)}, how));
    return out.str();
  };
  EXPECT_EQ(file(1), file(1));
  EXPECT_NE(file(1), file(2));
}

TEST(bench_maker, what_it_makes_can_be_read) {
  const auto texts = demo_texts({demo::site::workshop}, demo::split::served, 40, 1);
  const auto w = make_workload(arrivals_at_rate(spacing::poisson, 5, 60, 1), *texts, {});
  ASSERT_TRUE(w) << w.failure().message;
  std::stringstream file;
  write_workload(file, *w);
  const auto back = read_workload(file, "made");
  ASSERT_TRUE(back) << back.failure().message;
  EXPECT_EQ(back->requests.size(), 60u);
}

TEST(bench_maker, refuses_scales_that_make_no_sense) {
  for (const double bad : {0.0, -1.0, std::nan(""), 1e9}) {
    making times, lengths, bytes_each;
    times.time_scale = bad;
    lengths.length_scale = bad;
    bytes_each.bytes_per_token = bad;
    for (const making& how : {times, lengths, bytes_each})
      EXPECT_FALSE(make_workload({{0, 9, 9}}, {judged(scorer::exact)}, how)) << bad;
  }
  making slow;
  slow.time_scale = 1000;
  EXPECT_FALSE(make_workload({{0, 9, 9}, {3'600'000, 9, 9}}, {judged(scorer::none)}, slow));
  EXPECT_FALSE(make_workload({}, {judged(scorer::none)}, {}));
  EXPECT_FALSE(make_workload({{0, 9, 9}}, {}, {}));
}

}  // namespace
}  // namespace collm::bench
