// What verbs show of a status that came from a cluster, and of a status that lacks things.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/cluster_client.hpp"
#include "cli/plan_view.hpp"
#include "cli/status_view.hpp"

namespace collm::cli {
namespace {

using testing::HasSubstr;

json sample() {
  return json::parse(R"({
    "cluster": "demo", "uptimeMs": 75000, "version": "0.1.0", "baseName": "smollm2-135m-instruct", "precision": "int8",
    "head": {"node": "head", "httpAddress": "127.0.0.1:8080", "residentBytes": 50000000,
             "requests": {"answered": 1, "refused": 0, "failed": 0, "cancelled": 0, "inFlight": 0},
             "ledger": [{"name": "buffers", "bytes": 1000, "shared": false}]},
    "nodes": [
      {"name": "edge-a", "site": "kitchen", "state": "lost", "restarts": 1, "beatAgeMs": 4294967295, "reason": "killed by signal 9",
       "snapshot": {"node": "edge-a", "site": "kitchen", "httpAddress": "127.0.0.1:8081"}},
      {"name": "edge-b", "site": "workshop", "state": "serving", "restarts": 0, "beatAgeMs": 300, "reason": "",
       "snapshot": {"node": "edge-b", "site": "workshop", "httpAddress": "127.0.0.1:8082", "kernelPath": "avx2", "tokensPerSecond": 42.4,
                    "ttftMsP50": 120, "tpotMsP50": 9.5, "residentBytes": 1500000000,
                    "requests": {"answered": 10, "refused": 2, "failed": 1, "cancelled": 3, "inFlight": 4},
                    "ledger": [{"name": "base", "bytes": 100000, "shared": true}, {"name": "kv", "bytes": 5000, "shared": false}]}},
      {"name": "edge-c", "site": "kitchen", "state": "serving", "restarts": 0, "beatAgeMs": 200, "reason": "",
       "snapshot": {"node": "edge-c", "site": "kitchen", "httpAddress": "http://127.0.0.1:8083",
                    "ledger": [{"name": "base", "bytes": 100000, "shared": true}, {"name": "kv", "bytes": 5000, "shared": false}]}}],
    "versions": [{"adapter": "assistant", "number": 0, "digest": "0123456789abcdef", "state": "serving", "rank": 8,
                  "bytes": "2097152", "source": "initial"}],
    "inactive": ["training: not active"]})");
}

std::string shown(const json& status) {
  std::ostringstream out, err;
  return status_text(status, console(out, err, false));
}

TEST(status_view, shows_nodes_versions_and_losses) {
  const std::string text = shown(sample());
  EXPECT_THAT(text, HasSubstr("demo: smollm2-135m-instruct int8, up 1 min 15 s, CoLLM 0.1.0"));
  EXPECT_THAT(text, HasSubstr("edge-a  kitchen   lost     1"));
  EXPECT_THAT(text, HasSubstr("edge-a: killed by signal 9\n"));
  EXPECT_THAT(text, HasSubstr("120 ms"));
  EXPECT_THAT(text, HasSubstr("assistant@0  serving  8"));
  EXPECT_THAT(text, HasSubstr("2.0 MiB"));
  EXPECT_THAT(text, HasSubstr("0123456789ab\n"));
  EXPECT_THAT(text, HasSubstr("requests: 11 answered, 2 refused, 1 failed, 3 cancelled"));
  EXPECT_THAT(text, HasSubstr("training: not active"));
}

TEST(status_view, lets_no_word_of_a_node_move_the_terminals_cursor) {
  json status = sample();
  status["nodes"][1]["snapshot"]["httpAddress"] = "\x1b[2J\x1b[1;1H127.0.0.1:8082\nedge-d";
  status["nodes"][0]["reason"] = "gone\x1b[31m\r";
  status["nodes"][0]["missing"] = {"assistant@3\x07"};
  const std::string text = shown(status);
  EXPECT_THAT(text, HasSubstr("?[2J?[1;1H127.0.0.1:8082?edge-d\n"));
  EXPECT_THAT(text, HasSubstr("edge-a: gone?[31m?\n"));
  EXPECT_THAT(text, HasSubstr("lacks assistant@3?, which"));
  EXPECT_EQ(text.find_first_of("\x1b\r\x07"), text.npos);
}

TEST(status_view, survives_a_status_that_lacks_everything) {
  for (const char* text : {"{}", "[]", "null", "3", R"({"nodes": 3, "versions": {}, "head": []})",
                           R"({"nodes": [null, 1]})"}) {
    EXPECT_FALSE(shown(json::parse(text)).empty()) << text;
    EXPECT_EQ(memory_used(json::parse(text)), 0) << text;
    EXPECT_TRUE(site_gateways(json::parse(text)).empty()) << text;
  }
}

TEST(status_view, counts_shared_memory_once) {
  EXPECT_EQ(memory_used(sample()), 1000 + 2 * 5000 + 100000);
}

TEST(status_view, adds_up_requests_of_all_processes) {
  const request_totals sum = totals(sample());
  EXPECT_EQ(sum.answered, 11);
  EXPECT_EQ(sum.refused, 2);
  EXPECT_EQ(sum.failed, 1);
  EXPECT_EQ(sum.cancelled, 3);
}

TEST(status_view, takes_the_kernel_path_of_an_engine) {
  EXPECT_EQ(kernel_path_of(sample()), "avx2");
}

TEST(gateway_of, prefers_a_node_that_serves) {
  const auto kitchen = gateway_of(sample(), "kitchen");
  ASSERT_TRUE(kitchen);
  EXPECT_EQ(kitchen->node, "edge-c");
  EXPECT_EQ(kitchen->url, "http://127.0.0.1:8083");
  EXPECT_EQ(gateway_of(sample(), "workshop")->url, "http://127.0.0.1:8082");
}

TEST(gateway_of, names_the_sites_there_are) {
  EXPECT_THAT(gateway_of(sample(), "moon").failure().message,
              testing::StartsWith("no site \"moon\"; there are: "));
  EXPECT_THAT(gateway_of(sample(), "").failure().message,
              testing::StartsWith("name a site with --site; there are: "));
  EXPECT_EQ(gateway_of(json::object(), "kitchen").failure().code, errc::unavailable);
}

TEST(gateway_of, takes_a_nodes_own_status) {
  const json own = json::parse(
      R"({"head": {"node": "edge-a", "site": "kitchen", "httpAddress": "127.0.0.1:8081"}, "nodes": []})");
  EXPECT_EQ(gateway_of(own, "")->node, "edge-a");
  EXPECT_EQ(gateway_of(own, "kitchen")->url, "http://127.0.0.1:8081");
}

TEST(failure_of, reads_an_openai_error_or_none) {
  bench::http_reply reply;
  reply.status = 429;
  reply.body =
      R"({"error": {"message": "slow down", "type": "rate_limit_error", "param": null, "code": null}})";
  EXPECT_EQ(failure_of(reply).code, errc::rate_limited);
  EXPECT_EQ(failure_of(reply).message, "slow down (HTTP 429)");
  reply.status = 502;
  reply.body = "<html>";
  EXPECT_EQ(failure_of(reply).code, errc::internal);
  EXPECT_EQ(failure_of(reply).message, "HTTP 502");
}

TEST(table, aligns_by_characters_not_bytes) {
  EXPECT_EQ(table({{"a", "b"}, {"é", "longer"}, {"ccc", "d"}}), "a    b\né    longer\nccc  d\n");
}

TEST(console, paints_only_where_there_are_colours) {
  std::ostringstream out, err;
  EXPECT_EQ(console(out, err, false).painted("x", style::bad), "x");
  EXPECT_EQ(console(out, err, true).painted("x", style::bad), "\x1b[31mx\x1b[0m");
  EXPECT_EQ(console(out, err, true).painted("x", style::plain), "x");
}

TEST(size_text, picks_the_unit) {
  EXPECT_EQ(size_text(512), "512 B");
  EXPECT_EQ(size_text(1536), "1.5 KiB");
  EXPECT_EQ(size_text(3.0 * 1024 * 1024 * 1024), "3.0 GiB");
}

deploy::spawn_plan small_plan() {
  deploy::spawn_plan p;
  p.cluster = "small";
  p.model = {"smollm2", "/m/smollm2.gguf", 100, engine::precision::int8, {}};
  p.adapters = {{"assistant", 8, 16, {"q", "v"}, false, ""}};
  p.head.state_dir = "/state";
  p.head.http.port = 8080;
  p.head.http.host = "127.0.0.1";
  p.head.capnp = deploy::address{"127.0.0.1", 8090};
  p.head.link = deploy::address{"127.0.0.1", 8099};
  deploy::node_plan n;
  n.name = "edge-a", n.site = "kitchen", n.replicas = 2, n.kv_bytes = 1ull << 30,
  n.http = {"127.0.0.1", 8081};
  p.nodes = {n};
  p.ledger = {{"base", 1ull << 30, 0, true}, {"kv", 2ull << 30, 2ull << 30, false}};
  p.budget_bytes = 4ull << 30;
  p.notes = {"a note"};
  p.inactive = {"training: not active"};
  return p;
}

TEST(plan_view, is_the_plan_line_by_line) {
  std::ostringstream out, err;
  EXPECT_EQ(
      plan_text(small_plan(), console(out, err, false)),
      "cluster  small: smollm2, int8, from /m/smollm2.gguf\n"
      "adapter  assistant: rank 8, alpha 16.0, on q v; starts as the base\n"
      "state    /state, link 127.0.0.1:8099 (mutual TLS)\n"
      "SLO      first token within 2000 ms, each next within 120 ms\n"
      "\n"
      "NODE    SITE     RUNS AS  REPLICAS  THREADS  KV CACHE  HTTP            CAP'N PROTO\n"
      "head    -        process  -         -        -         127.0.0.1:8080  127.0.0.1:8090\n"
      "edge-a  kitchen  process  2         2        2.0 GiB   127.0.0.1:8081  -\n"
      "\n"
      "MEMORY  PLANNED\n"
      "base    1.0 GiB  one copy on this machine\n"
      "kv      2.0 GiB\n"
      "total   3.0 GiB  of a budget of 4.0 GiB\n"
      "\n"
      "note: a note\n"
      "training: not active\n");
}

TEST(plan_view, has_the_same_facts_as_json) {
  const json p = plan_json(small_plan());
  EXPECT_EQ(p["planned_bytes"], 3ull << 30);
  EXPECT_EQ(p["nodes"][0]["replicas"], 2);
  EXPECT_EQ(p["nodes"][0]["capnp"], nullptr);
  EXPECT_EQ(p["head"]["capnp"], "127.0.0.1:8090");
  EXPECT_EQ(p["ledger"][0]["shared"], true);
  EXPECT_EQ(p["inactive"][0], "training: not active");
}

}  // namespace
}  // namespace collm::cli
