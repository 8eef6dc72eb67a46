// P10: what is told of each adapter, in a form that Prometheus takes, whatever their names and
// number.
#include "actors/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/exposition.hpp"

namespace collm::actors {
namespace {

using testing_support::exposition;

request_outcome answered(const std::string& adapter) {
  request_outcome o;
  o.how = request_outcome::kind::answered;
  o.adapter = adapter;
  o.reason = "stop";
  o.prompt_tokens = 10;
  o.completion_tokens = 5;
  o.ttft_ms = 50;
  o.e2e_ms = 200;
  o.tpot_ms = 30;
  o.itl_ms = {30, 40, 20, 30};
  return o;
}

replica_report holding(const std::vector<version_id>& versions) {
  replica_report r;
  r.replica = "edge-a/0";
  r.kv_total = 10;
  r.kv_free = 5;
  r.iteration_tokens = {1, 64, 512};
  for (const auto& id : versions) r.versions.push_back({id, 0, 100, "digest"});
  return r;
}

TEST(metrics, p10_each_adapter_has_its_own_series_and_the_text_is_well_formed) {
  metrics m("tiny", 32);
  for (const char* adapter : {"assistant", "polite", "assistant", ""})
    m.observe(answered(adapter), 20, 100);
  request_outcome refused;
  refused.how = request_outcome::kind::refused;
  refused.reason = "overloaded";
  m.observe(refused, 20, 100);
  m.observe(holding({{"assistant", 3}, {"polite", 0}}));
  const exposition seen(m.text());
  EXPECT_THAT(seen.complaints, testing::IsEmpty());
  EXPECT_THAT(seen.values_of("collm_time_to_first_token_seconds_count", "adapter"),
              testing::ElementsAre("assistant", "base", "polite"));
  const std::string of_assistant = "{adapter=\"assistant\",";
  EXPECT_EQ(seen.samples.at("collm_time_to_first_token_seconds_count" + of_assistant +
                            "model_name=\"tiny\"}"),
            2);
  EXPECT_EQ(seen.samples.at("collm_adapter_resident" + of_assistant +
                            "engine=\"edge-a/0\",model_name=\"tiny\",tier=\"memory\"}"),
            3);
}

TEST(metrics, p10_more_adapters_than_there_are_series_share_one) {
  metrics m("tiny", 4);
  for (int i = 0; i < 100; ++i) m.observe(answered("a" + std::to_string(i)), 20, 100);
  const exposition seen(m.text());
  EXPECT_THAT(seen.complaints, testing::IsEmpty());
  EXPECT_THAT(seen.values_of("collm_e2e_request_latency_seconds_count", "adapter"),
              testing::ElementsAre("a0", "a1", "a2", "a3", "other"));
}

TEST(metrics, p10_an_adapter_that_left_memory_has_no_residency) {
  metrics m("tiny", 32);
  m.observe(holding({{"assistant", 3}, {"polite", 0}}));
  m.observe(holding({{"polite", 1}}));
  EXPECT_THAT(exposition(m.text()).values_of("collm_adapter_resident", "adapter"),
              testing::ElementsAre("polite"));
}

TEST(metrics, names_that_need_escapes_break_nothing) {
  metrics m("ti\"ny\\\n", 32);
  m.observe(answered("a\"}\n# TYPE x y\\"), 20, 100);
  EXPECT_THAT(exposition(m.text()).complaints, testing::IsEmpty());
}

}  // namespace
}  // namespace collm::actors
