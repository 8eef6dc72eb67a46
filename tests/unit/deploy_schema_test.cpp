// The editor's JSON schema, the page that explains the manifest and the parser name the same
// fields.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "deploy/manifest.hpp"

namespace collm::deploy {
namespace {

using json = nlohmann::json;

std::string text_of(const std::string& file) {
  std::ifstream in(std::string(COLLM_SOURCE_DIR) + "/" + file);
  return {std::istreambuf_iterator<char>(in), {}};
}

json schema() { return json::parse(text_of("deploy/manifests/cluster.schema.json")); }

/// Patterns of all fields below `node`: "spec.nodes[].threads".
void collect(const json& node, const std::string& path, std::set<std::string>& fields) {
  if (node.contains("anyOf")) {
    for (const json& one : node["anyOf"]) collect(one, path, fields);
  }
  if (node.contains("items")) collect(node["items"], path + "[]", fields);
  if (!node.contains("properties")) return;
  for (const auto& [name, child] : node["properties"].items()) {
    const std::string below = path.empty() ? name : path + "." + name;
    fields.insert(below);
    collect(child, below, fields);
  }
}

/// Every object of the schema refuses fields that it does not list.
void expect_closed(const json& node, const std::string& path) {
  if (node.contains("properties")) {
    EXPECT_EQ(node.value("additionalProperties", json(true)), json(false)) << path;
    for (const auto& [name, child] : node["properties"].items())
      expect_closed(child, path + "." + name);
  }
  if (node.contains("items")) expect_closed(node["items"], path + "[]");
}

TEST(manifest_schema, lists_exactly_the_fields_that_the_parser_reads) {
  std::set<std::string> listed;
  collect(schema(), "", listed);
  EXPECT_THAT(std::vector<std::string>(listed.begin(), listed.end()),
              testing::ElementsAreArray(manifest_fields()));
}

TEST(manifest_schema, refuses_unknown_fields_as_the_parser_does) { expect_closed(schema(), ""); }

TEST(manifest_schema, describes_every_field) {
  std::function<void(const json&, const std::string&)> check = [&](const json& node,
                                                                   const std::string& path) {
    EXPECT_FALSE(node.value("description", "").empty()) << path;
    if (node.contains("properties")) {
      for (const auto& [name, child] : node["properties"].items()) check(child, path + "." + name);
    }
    if (node.contains("items")) check(node["items"], path + "[]");
  };
  check(schema(), "");
}

TEST(manifest_page, explains_every_field) {
  const std::string page = text_of("docs/MANIFEST.md");
  for (const std::string& field : manifest_fields()) {
    const std::string name = field.substr(
        field.find_last_of('.') == std::string::npos ? 0 : field.find_last_of('.') + 1);
    EXPECT_NE(page.find("`" + name + "`"), std::string::npos)
        << field << " is not explained in docs/MANIFEST.md";
  }
}

/// Each ```yaml block of the page is a whole manifest.
std::vector<std::string> manifests_of(const std::string& page) {
  std::vector<std::string> all;
  const std::string open = "```yaml\n";
  for (auto begin = page.find(open); begin != std::string::npos; begin = page.find(open, begin)) {
    begin += open.size();
    all.push_back(page.substr(begin, page.find("```", begin) - begin));
  }
  return all;
}

TEST(manifest_page, shows_manifests_that_are_valid) {
  const auto all = manifests_of(text_of("docs/MANIFEST.md"));
  ASSERT_FALSE(all.empty());
  for (const std::string& yaml : all) {
    const manifest_check check = parse_manifest(yaml);
    EXPECT_TRUE(check.value) << (check.problems.empty()
                                     ? ""
                                     : to_string(check.problems[0], "docs/MANIFEST.md"))
                             << "\n"
                             << yaml;
  }
}

TEST(manifest_page, shows_the_defaults_of_the_parser) {
  const manifest m =
      *parse_manifest(
           "apiVersion: collm.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec:\n"
           "  model: {source: x.gguf}\n  nodes: [{name: n, gateway: {http: '127.0.0.1:1'}}]\n"
           "  adapters: [{name: a}]\n  federation: [{adapter: a, round: {quorum: 1}}]\n  training: "
           "{}\n")
           .value;
  const json spec = schema()["properties"]["spec"]["properties"];
  EXPECT_EQ(spec["memory"]["properties"]["budget"]["default"], "3Gi");
  EXPECT_EQ(m.budget_bytes, 3ull << 30);
  const json adapter = spec["adapters"]["items"]["properties"];
  EXPECT_EQ(adapter["rank"]["default"], m.adapters[0].rank);
  EXPECT_EQ(adapter["alpha"]["default"], m.adapters[0].alpha);
  const json node = spec["nodes"]["items"]["properties"];
  EXPECT_EQ(node["replicas"]["default"], m.nodes[0].replicas);
  EXPECT_EQ(node["threads"]["default"], m.nodes[0].threads);
  EXPECT_EQ(node["placement"]["default"], std::string(to_string(m.nodes[0].where)));
  EXPECT_EQ(m.nodes[0].kv_bytes, 512ull << 20);
  const json training = spec["training"]["properties"];
  EXPECT_EQ(training["batchTokens"]["default"], m.training->batch_tokens);
  EXPECT_EQ(training["learningRate"]["default"], m.training->learning_rate);
  EXPECT_EQ(training["warmupSteps"]["default"], m.training->warmup_steps);
  EXPECT_EQ(training["clip"]["default"], m.training->clip);
  const json federation = spec["federation"]["items"]["properties"];
  EXPECT_EQ(federation["round"]["properties"]["steps"]["default"], m.federation[0].steps);
  EXPECT_EQ(federation["gate"]["properties"]["margin"]["default"], m.federation[0].margin);
  EXPECT_EQ(federation["gate"]["properties"]["worstSite"]["default"], m.federation[0].worst_site);
  EXPECT_EQ(federation["gate"]["properties"]["guard"]["default"], m.federation[0].guard);
  EXPECT_EQ(federation["gate"]["properties"]["canary"]["properties"]["share"]["default"],
            m.federation[0].canary_share);
  EXPECT_EQ(spec["coordinator"]["properties"]["policy"]["default"], m.coordinator.policy);
  EXPECT_EQ(spec["coordinator"]["properties"]["trainShare"]["default"], m.coordinator.train_share);
  const json bounds = spec["limits"]["properties"];
  EXPECT_EQ(bounds["promptTokens"]["default"], m.bounds.prompt_tokens_max);
  EXPECT_EQ(bounds["queuedRequests"]["default"], m.bounds.queued_requests_max);
  EXPECT_EQ(bounds["connections"]["default"], m.bounds.connections_max);
  EXPECT_EQ(bounds["engineSilence"]["default"], "30s");
}

}  // namespace
}  // namespace collm::deploy
