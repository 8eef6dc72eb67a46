// Manifests: what is read, and for each mistake the exact place and text.
#include "deploy/manifest.hpp"

#include <gtest/gtest.h>

#include <string>

namespace collm::deploy {
namespace {

const std::string smallest = R"(apiVersion: collm.dev/v1alpha1
kind: Cluster
metadata: {name: small}
spec:
  model: {source: smollm2-135m-instruct}
  nodes:
    - {name: edge-a, gateway: {http: 127.0.0.1:8081}}
)";

/// The smallest manifest with more fields of spec below it; they start in line 8.
std::string with(const std::string& more) { return smallest + more; }

std::string key_of(char digit) { return std::string(64, digit); }

std::string all_of(const manifest_check& check) {
  std::string text;
  for (const problem& p : check.problems) text += to_string(p, "c.yaml") + "\n";
  return text;
}

TEST(manifest, reads_how_factors_are_scaled_and_trained) {
  const auto read = [](const std::string& adapter, const std::string& training) {
    return parse_manifest(smallest + "  adapters: [{name: a, rank: 16, alpha: 8" + adapter +
                          "}]\n  federation: [{adapter: a, round: {quorum: 1}}]\n  training: {" +
                          training + "}\n");
  };
  const auto plain = read("", "batchTokens: 64");
  ASSERT_TRUE(plain.value) << all_of(plain);
  EXPECT_EQ(plain.value->adapters[0].alpha, 8);
  EXPECT_EQ(plain.value->training->lora_plus_ratio, 1);
  EXPECT_EQ(plain.value->training->weight_decay, 0);
  const auto stabilised = read(", rsLora: true", "loraPlusRatio: 4, weightDecay: 0.01");
  ASSERT_TRUE(stabilised.value) << all_of(stabilised);
  EXPECT_EQ(stabilised.value->adapters[0].alpha, 32) << "8 / sqrt(16), as alpha over rank";
  EXPECT_EQ(stabilised.value->training->lora_plus_ratio, 4);
  EXPECT_EQ(stabilised.value->training->weight_decay, 0.01);
}

TEST(manifest, reads_the_built_in_cluster) {
  const manifest_check check = parse_manifest(builtin_manifest());
  ASSERT_TRUE(check.value) << all_of(check);
  const manifest& m = *check.value;
  EXPECT_EQ(m.name, "demo");
  EXPECT_EQ(m.model.source, "smollm2-135m-instruct");
  EXPECT_EQ(m.model.precision, engine::precision::int8);
  EXPECT_EQ(m.budget_bytes, 3ull << 30);
  ASSERT_EQ(m.adapters.size(), 1u);
  EXPECT_EQ(m.adapters[0].targets.size(), 7u);
  ASSERT_EQ(m.nodes.size(), 2u);
  EXPECT_EQ(m.nodes[1].name, "edge-b");
  EXPECT_EQ(m.nodes[1].site, "workshop");
  EXPECT_EQ(m.nodes[1].where, placement::process);
  EXPECT_EQ(m.nodes[1].kv_bytes, 512ull << 20);
  EXPECT_EQ(to_string(m.nodes[1].http), "127.0.0.1:8082");
  EXPECT_FALSE(m.nodes[1].capnp);
  EXPECT_EQ(to_string(*m.head.capnp), "127.0.0.1:8090");
  EXPECT_EQ(m.slo.ttft_ms, 2000u);
  EXPECT_EQ(m.slo.tpot_ms, 120u);
  ASSERT_TRUE(m.training);
  EXPECT_DOUBLE_EQ(m.training->learning_rate, 2e-3);
  ASSERT_EQ(m.federation.size(), 1u);
  EXPECT_EQ(m.federation[0].strategy.aggregate, "fedavg");
  EXPECT_EQ(m.federation[0].looks, (std::vector<std::uint32_t>{32, 160}));
  EXPECT_TRUE(m.federation[0].canary);
  EXPECT_EQ(m.federation[0].canary_max_time_ms, 15000u);
  EXPECT_EQ(m.coordinator.policy, "coserve_fill");
  EXPECT_EQ(m.bounds.queued_requests_max, 256u);
}

TEST(manifest, fills_in_what_is_left_out) {
  const manifest_check check = parse_manifest(smallest);
  ASSERT_TRUE(check.value) << all_of(check);
  const manifest& m = *check.value;
  EXPECT_EQ(m.nodes[0].site, "edge-a");
  EXPECT_EQ(m.nodes[0].replicas, 1u);
  EXPECT_EQ(m.nodes[0].threads, 1u);
  EXPECT_EQ(m.head.state_dir, "./state");
  EXPECT_EQ(to_string(m.head.http), "127.0.0.1:8080");
  EXPECT_FALSE(m.head.capnp);
  EXPECT_FALSE(m.training);
  EXPECT_EQ(m.bounds.prompt_tokens_max, limits{}.prompt_tokens_max);
  EXPECT_EQ(m.bounds.engine_silence_ms_max, 30'000u);
}

TEST(manifest, reads_labels_tenants_limits_and_localhost) {
  const std::string key(64, 'A');
  const manifest_check check =
      parse_manifest(with("  head: {gateway: {http: localhost:9000}}\n"
                          "  tenants: [{name: shop, keySha256: " +
                          key +
                          ", site: edge-a, class: batch, rate: 90/min}]\n"
                          "  limits: {requestBytes: 64Ki, connections: 8, engineSilence: 6s}\n"));
  ASSERT_TRUE(check.value) << all_of(check);
  const manifest& m = *check.value;
  EXPECT_EQ(to_string(m.head.http), "127.0.0.1:9000");
  EXPECT_EQ(m.tenants[0].key_sha256, std::string(64, 'a'));
  EXPECT_FALSE(m.tenants[0].interactive);
  EXPECT_DOUBLE_EQ(m.tenants[0].requests_per_s, 1.5);
  EXPECT_EQ(m.bounds.request_bytes_max, 64u << 10);
  EXPECT_EQ(m.bounds.connections_max, 8u);
  EXPECT_EQ(m.bounds.engine_silence_ms_max, 6000u);
}

TEST(manifest, has_rounds_follow_each_other_or_wait_for_jobs) {
  const manifest_check check =
      parse_manifest(with("  adapters: [{name: a}, {name: b}]\n"
                          "  federation: [{adapter: a}, {adapter: b, standing: false}]\n"));
  ASSERT_TRUE(check.value) << all_of(check);
  EXPECT_TRUE(check.value->federation[0].standing);
  EXPECT_FALSE(check.value->federation[1].standing);
}

TEST(manifest, reads_what_listens_beyond_loopback) {
  const manifest_check check = parse_manifest(
      with("  head: {gateway: {http: '[::]:8443', tls: {certificate: c.pem, key: k.pem}}}\n"
           "  tenants: [{name: shop, keySha256: " +
           key_of('a') +
           ", site: edge-a}]\n"
           "  admin: {keySha256: " +
           key_of('B') + "}\n"));
  ASSERT_TRUE(check.value) << all_of(check);
  const manifest& m = *check.value;
  ASSERT_TRUE(m.head.tls);
  EXPECT_EQ(m.head.tls->certificate, "c.pem");
  EXPECT_EQ(m.head.tls->key, "k.pem");
  EXPECT_EQ(m.admin_key_sha256, key_of('b'));
  EXPECT_EQ(url_of(m.head.http, m.head.tls), "https://[::]:8443");
  EXPECT_EQ(shown_address(m.nodes[0].http, m.nodes[0].tls), "127.0.0.1:8081");
}

struct mistake {
  const char* name;
  std::string yaml;
  std::string report;
};

void PrintTo(const mistake& m, std::ostream* out) { *out << m.name; }

class manifest_mistake : public testing::TestWithParam<mistake> {};

TEST_P(manifest_mistake, is_reported_with_its_place_and_mend) {
  const manifest_check check = parse_manifest(GetParam().yaml);
  EXPECT_FALSE(check.value);
  EXPECT_EQ(all_of(check), GetParam().report);
}

std::string repeated(const std::string& line, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += line;
  return out;
}

const std::string two_nodes = "    - {name: edge-b, gateway: {http: 127.0.0.1:8082}}\n";

INSTANTIATE_TEST_SUITE_P(
    fields, manifest_mistake,
    testing::Values(
        mistake{"unknown_near", with("  slo: {tttf: 2s}\n"),
                "c.yaml:8:9: spec.slo.tttf: unknown field; did you mean \"ttft\"?\n"},
        mistake{"unknown_far", with("  slo: {latency: 2s}\n"),
                "c.yaml:8:9: spec.slo.latency: unknown field; known here: ttft, tpot\n"},
        mistake{"no_unit", with("  slo: {ttft: 2}\n"),
                "c.yaml:8:15: spec.slo.ttft: 2 has no unit; write 2ms or 2s\n"},
        mistake{"wrong_time_unit", with("  slo: {ttft: 2sec}\n"),
                "c.yaml:8:15: spec.slo.ttft: unit \"sec\" is not known for a duration; use ms, s, "
                "m or h\n"},
        mistake{"wrong_size_unit", with("  memory: {budget: 3GB}\n"),
                "c.yaml:8:20: spec.memory.budget: unit \"GB\" is not known for a size; use Ki, Mi, "
                "Gi, Ti (powers of 1024) "
                "or k, M, G, T\n"},
        mistake{"size_not_a_number", with("  memory: {budget: big}\n"),
                "c.yaml:8:20: spec.memory.budget: \"big\" is not a size; write a number with Ki, "
                "Mi or Gi, such as 512Mi\n"},
        mistake{"size_out_of_range", with("  memory: {budget: 1Ki}\n"),
                "c.yaml:8:20: spec.memory.budget: 1Ki is out of range; from 64Mi to 64Ti\n"},
        mistake{"negative", with("  memory: {budget: -1Gi}\n"),
                "c.yaml:8:20: spec.memory.budget: \"-1Gi\" is not a size; write a number with Ki, "
                "Mi or Gi, such as 512Mi\n"},
        mistake{"duration_out_of_range", with("  slo: {ttft: 2h}\n"),
                "c.yaml:8:15: spec.slo.ttft: 2h is out of range; from 1ms to 3600s\n"},
        mistake{"whole_number", with("  limits: {connections: 1.5}\n"),
                "c.yaml:8:25: spec.limits.connections: \"1.5\" is not a whole number from 1 to "
                "65536\n"},
        mistake{
            "real_number", with("  training: {learningRate: fast}\n"),
            "c.yaml:8:28: spec.training.learningRate: \"fast\" is not a number from 1e-08 to 1\n"},
        mistake{"list_for_scalar", with("  slo: {ttft: [2s]}\n"),
                "c.yaml:8:15: spec.slo.ttft: expects a single value, found a list\n"},
        mistake{"scalar_for_mapping", with("  slo: 2s\n"),
                "c.yaml:8:8: spec.slo: expects a mapping, found a single value\n"},
        mistake{"mapping_for_list", with("  tenants: {}\n"),
                "c.yaml:8:12: spec.tenants: expects a list, found a mapping\n"},
        mistake{"scalar_in_list", with("  adapters: [assistant]\n"),
                "c.yaml:8:14: spec.adapters[0]: expects a mapping, found a single value\n"},
        mistake{"written_twice", with("  slo: {ttft: 2s}\n  slo: {ttft: 3s}\n"),
                "c.yaml:9:3: spec.slo: is written twice; first in line 8\n"},
        mistake{"bad_target", with("  adapters: [{name: a, targets: [q, mlp]}]\n"),
                "c.yaml:8:37: spec.adapters[0].targets[1]: \"mlp\" is not a target; one of q, k, "
                "v, o, gate, up, down\n"},
        mistake{"target_twice", with("  adapters: [{name: a, targets: [q, q]}]\n"),
                "c.yaml:8:33: spec.adapters[0].targets: names a target twice\n"},
        mistake{"no_targets", with("  adapters: [{name: a, targets: []}]\n"),
                "c.yaml:8:33: spec.adapters[0].targets: is empty; at least one of q, k, v, o, "
                "gate, up, down\n"},
        mistake{"version_in_name", with("  adapters: [{name: a@1}]\n"),
                "c.yaml:8:21: spec.adapters[0].name: \"a@1\" is not a name: at most 63 letters, "
                "digits and inner \".\", \"_\", "
                "\"-\", such as assistant\n"},
        mistake{"rank", with("  adapters: [{name: a, rank: 0}]\n"),
                "c.yaml:8:30: spec.adapters[0].rank: \"0\" is not a whole number from 1 to 256\n"},
        mistake{
            "residency", with("  adapters: [{name: a, residency: cloud}]\n"),
            "c.yaml:8:35: spec.adapters[0].residency: \"cloud\" is not a residency; one of site\n"},
        mistake{"spill", with("  adapters: [{name: a, spill: maybe}]\n"),
                "c.yaml:8:31: spec.adapters[0].spill: \"maybe\" is not true or false\n"},
        mistake{"key_in_clear", with("  tenants: [{name: t, keySha256: secret, site: edge-a}]\n"),
                "c.yaml:8:34: spec.tenants[0].keySha256: is not a SHA-256; write its 64 hex digits "
                "(printf %s KEY | "
                "sha256sum), never the key\n"},
        mistake{"rate",
                with("  tenants: [{name: t, keySha256: " + std::string(64, '0') +
                     ", site: edge-a, rate: 5}]\n"),
                "c.yaml:8:120: spec.tenants[0].rate: \"5\" is not a rate; write requests per time, "
                "such as 10/s or 600/min\n"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    cluster, manifest_mistake,
    testing::Values(
        mistake{"policy_unbuilt", with("  coordinator: {policy: two_timescale}\n"),
                "c.yaml:8:25: spec.coordinator.policy: policy \"two_timescale\" is not built yet; "
                "supported: coserve_fill, static_split, inference_only\n"},
        mistake{
            "strategy_that_contradicts_itself",
            with("  adapters: [{name: a}]\n"
                 "  federation: [{adapter: a, strategy: {aggregate: fedavg, robust: median}}]\n"),
            "c.yaml:9:39: spec.federation[0].strategy: a robust rule compares coordinates, "
            "which mean something only while the other factor is frozen: ffa or rolora would "
            "be right, not fedavg\n"},
        mistake{"ranks_without_stacking",
                with("  adapters: [{name: a}]\n"
                     "  federation: [{adapter: a, ranks: [{site: edge-a, rank: 4}]}]\n"),
                "c.yaml:9:36: spec.federation[0].ranks: clients of unequal ranks need stack_svd, "
                "not fedavg\n"},
        mistake{
            "strategy_misspelt",
            with("  adapters: [{name: a}]\n"
                 "  federation: [{adapter: a, strategy: {aggregate: rolra, robust: median}}]\n"),
            "c.yaml:9:51: spec.federation[0].strategy.aggregate: \"rolra\" is not a strategy; "
            "one of fedavg, ffa, rolora, stack_svd, FedAvg, FedProx, FedTrimmedAvg, "
            "FedMedian, FedBuff\n"},
        mistake{"rank_above_the_adapters",
                with("  adapters: [{name: a, rank: 8}]\n  federation: [{adapter: a, strategy: "
                     "stack_svd, ranks: [{site: edge-a, rank: 16}]}]\n"),
                "c.yaml:9:79: spec.federation[0].ranks[0].rank: rank 16 is above the adapter's 8; "
                "give the adapter the largest rank\n"},
        mistake{"rank_of_no_site",
                with("  adapters: [{name: a, rank: 8}]\n  federation: [{adapter: a, strategy: "
                     "stack_svd, ranks: [{site: edge-x, rank: 4}]}]\n"),
                "c.yaml:9:65: spec.federation[0].ranks[0].site: no site \"edge-x\" in this "
                "manifest; did you mean \"edge-a\"?\n"},
        mistake{"split_of_one",
                with("  adapters: [{name: a}]\n  federation: [{adapter: a}]\n"
                     "  coordinator: {policy: static_split, trainShare: 0.5}\n"),
                "c.yaml:10:51: spec.coordinator.trainShare: static_split 50 % leaves site 'edge-a' "
                "(1 replicas) none that serves; give it 2 replicas, or choose coserve_fill\n"},
        mistake{"split_of_nothing",
                with("    - {name: edge-b, site: edge-a, gateway: {http: 127.0.0.1:8082}}\n"
                     "  coordinator: {policy: static_split}\n"),
                "c.yaml:9:25: spec.coordinator.policy: static_split sets replicas apart for "
                "training, and no adapter learns; add federation, or leave the policy out\n"},
        mistake{"split_with_a_control",
                with("    - {name: edge-b, site: edge-a, gateway: {http: 127.0.0.1:8082}}\n"
                     "  adapters: [{name: a}]\n  federation: [{adapter: a, control: alone}]\n"
                     "  coordinator: {policy: static_split}\n"),
                "c.yaml:10:38: spec.federation[0].control: alone serves a copy where it is "
                "trained, and static_split lets nothing serve there; leave it out, or choose "
                "coserve_fill\n"},
        mistake{"split_quorum",
                with("    - {name: edge-b, site: edge-a, gateway: {http: 127.0.0.1:8082}}\n"
                     "  adapters: [{name: a}]\n  federation: [{adapter: a, round: {quorum: 2}}]\n"
                     "  coordinator: {policy: static_split}\n"),
                "c.yaml:10:45: spec.federation[0].round.quorum: a quorum of 2 can never be met by "
                "1 replica that trains\n"},
        mistake{
            "a_canary_that_answers_everything",
            with("  adapters: [{name: a}]\n"
                 "  federation: [{adapter: a, gate: {canary: {share: 1}}}]\n"),
            "c.yaml:9:52: spec.federation[0].gate.canary.share: \"1\" is not a number from 0 to "
            "0.9\n"},
        mistake{"share_of_no_split", with("  coordinator: {trainShare: 0.5}\n"),
                "c.yaml:8:29: spec.coordinator.trainShare: is of the policy static_split, not of "
                "coserve_fill; leave it out, or choose that policy\n"},
        mistake{"share_between",
                with("    - {name: edge-b, site: edge-a, gateway: {http: 127.0.0.1:8082}}\n"
                     "  adapters: [{name: a}]\n  federation: [{adapter: a}]\n"
                     "  coordinator: {policy: static_split, trainShare: 0.4}\n"),
                "c.yaml:11:51: spec.coordinator.trainShare: 0.4 is not one of 0.25, 0.5, 0.75\n"},
        mistake{"policy_unknown", with("  coordinator: {policy: best}\n"),
                "c.yaml:8:25: spec.coordinator.policy: policy \"best\" is not known; supported: "
                "coserve_fill, static_split, inference_only\n"},
        mistake{"remote",
                with("    - {name: edge-b, placement: remote, gateway: {http: 127.0.0.1:8082}}\n"),
                "c.yaml:8:33: spec.nodes[1].placement: a remote node joins at spec.head.enrol, "
                "which is missing; such as enrol: 127.0.0.1:8098\n"},
        mistake{
            "remote_without_a_host",
            with("    - {name: edge-b, placement: remote, gateway: {http: 127.0.0.1:8082}}\n"
                 "  head: {listen: 0.0.0.0:8099, enrol: 0.0.0.0:8098}\n"),
            "c.yaml:9:18: spec.head.host: is missing: a remote node cannot reach 0.0.0.0; write "
            "the name or address under which it finds this head\n"},
        mistake{"host_with_a_port", with("  head: {host: '10.0.0.1:8099'}\n"),
                "c.yaml:8:16: spec.head.host: \"10.0.0.1:8099\" cannot be reached from elsewhere; "
                "write a DNS name or an IP address without a port, such as head.example.org\n"},
        mistake{"placement",
                with("    - {name: edge-b, placement: docker, gateway: {http: 127.0.0.1:8082}}\n"),
                "c.yaml:8:33: spec.nodes[1].placement: \"docker\" is not a placement; one of "
                "process, thread, remote\n"},
        mistake{"no_gateway", with("    - {name: edge-b}\n"),
                "c.yaml:8:7: spec.nodes[1].gateway: is required\n"},
        mistake{"beyond_loopback", with("    - {name: edge-b, gateway: {http: 0.0.0.0:8082}}\n"),
                "c.yaml:8:38: spec.nodes[1].gateway.http: \"0.0.0.0\" is beyond loopback and lacks "
                "gateway.tls (certificate and key) and keys (spec.tenants, of its site); add what "
                "is lacking, or write 127.0.0.1:8082\n"},
        mistake{
            "beyond_loopback_without_keys",
            with("  head: {gateway: {http: 0.0.0.0:8080, tls: {certificate: a, key: b}}}\n"),
            "c.yaml:8:26: spec.head.gateway.http: \"0.0.0.0\" is beyond loopback and lacks keys "
            "(spec.tenants, of its site); add what is lacking, or write 127.0.0.1:8080\n"},
        mistake{
            "beyond_loopback_without_keys_of_its_site",
            with("    - {name: b, gateway: {http: '[::]:8082', tls: {certificate: a, key: b}}}\n"
                 "  tenants: [{name: shop, keySha256: " +
                 key_of('a') + ", site: edge-a}]\n"),
            "c.yaml:8:33: spec.nodes[1].gateway.http: \"::\" is beyond loopback and lacks keys "
            "(spec.tenants, of its site); add what is lacking, or write 127.0.0.1:8082\n"},
        mistake{"half_of_tls",
                with("  head: {gateway: {http: 127.0.0.1:8080, tls: {certificate: a}}}\n"),
                "c.yaml:8:47: spec.head.gateway.tls.key: is required\n"},
        mistake{"no_ip_address", with("  head: {gateway: {http: 'example.org:8080'}}\n"),
                "c.yaml:8:26: spec.head.gateway.http: \"example.org\" is not an IP address; write "
                "one of this machine's, or 0.0.0.0 for all\n"},
        mistake{"native_beside_keys",
                with("  head: {gateway: {capnp: 127.0.0.1:8090}}\n"
                     "  tenants: [{name: shop, keySha256: " +
                     key_of('a') + ", site: edge-a}]\n"),
                "c.yaml:8:27: spec.head.gateway.capnp: the Cap'n Proto port asks nobody for a key, "
                "so whoever is on this machine would pass by those of spec.tenants; leave it "
                "out\n"},
        mistake{
            "native_beyond_loopback", with("  head: {gateway: {capnp: 0.0.0.0:8090}}\n"),
            "c.yaml:8:27: spec.head.gateway.capnp: \"0.0.0.0\" is not loopback; the Cap'n Proto "
            "port has neither keys nor TLS; write 127.0.0.1:8090\n"},
        mistake{"admin_key_of_a_tenant",
                with("  admin: {keySha256: " + key_of('a') +
                     "}\n"
                     "  tenants: [{name: shop, keySha256: " +
                     key_of('a') + ", site: edge-a}]\n"),
                "c.yaml:9:37: spec.tenants[0].keySha256: key \"" + key_of('a') +
                    "\" is already taken by spec.admin.keySha256\n"},
        mistake{"link_at_a_name", with("  head: {listen: 'head.example.org:8099'}\n"),
                "c.yaml:8:18: spec.head.listen: \"head.example.org\" is not an IP address; write "
                "one of this machine's, or 0.0.0.0 for all\n"},
        mistake{"no_port", with("  head: {listen: 127.0.0.1}\n"),
                "c.yaml:8:18: spec.head.listen: \"127.0.0.1\" is not an address; write host:port, "
                "such as 127.0.0.1:8080, port "
                "from 1 to 65535\n"},
        mistake{"port_zero", with("  head: {listen: '127.0.0.1:0'}\n"),
                "c.yaml:8:18: spec.head.listen: \"127.0.0.1:0\" is not an address; write "
                "host:port, such as 127.0.0.1:8080, "
                "port from 1 to 65535\n"},
        mistake{"same_node_name", with("    - {name: edge-a, gateway: {http: 127.0.0.1:8082}}\n"),
                "c.yaml:8:14: spec.nodes[1].name: node name \"edge-a\" is already taken by "
                "spec.nodes[0].name\n"},
        mistake{
            "node_called_head", with("    - {name: head, gateway: {http: 127.0.0.1:8082}}\n"),
            "c.yaml:8:14: spec.nodes[1].name: node name \"head\" is already taken by the head\n"},
        mistake{"same_port", with("    - {name: edge-b, gateway: {http: localhost:8081}}\n"),
                "c.yaml:8:38: spec.nodes[1].gateway.http: address \"127.0.0.1:8081\" is already "
                "taken by "
                "spec.nodes[0].gateway.http\n"},
        mistake{"port_of_the_head", with("    - {name: edge-b, gateway: {http: 127.0.0.1:8080}}\n"),
                "c.yaml:8:38: spec.nodes[1].gateway.http: address \"127.0.0.1:8080\" is already "
                "taken by "
                "spec.head.gateway.http\n"},
        mistake{"same_adapter", with("  adapters: [{name: a}, {name: a}]\n"),
                "c.yaml:8:32: spec.adapters[1].name: adapter name \"a\" is already taken by "
                "spec.adapters[0].name\n"},
        mistake{"adapter_called_base", with("  adapters: [{name: base}]\n"),
                "c.yaml:8:21: spec.adapters[0].name: adapter name \"base\" is already taken by the "
                "base itself\n"},
        mistake{"federation_of_nothing",
                with("  adapters: [{name: assistant}]\n  federation: [{adapter: asistant}]\n"),
                "c.yaml:9:26: spec.federation[0].adapter: no adapter \"asistant\" in this "
                "manifest; did you mean "
                "\"assistant\"?\n"},
        mistake{"quorum",
                with("  adapters: [{name: a}]\n  federation: [{adapter: a, round: {quorum: 3}}]\n"),
                "c.yaml:9:45: spec.federation[0].round.quorum: a quorum of 3 can never be met by 1 "
                "replica\n"},
        mistake{
            "tenant_of_no_site",
            with("  tenants: [{name: t, keySha256: " + std::string(64, '0') + ", site: moon}]\n"),
            "c.yaml:8:106: spec.tenants[0].site: no site \"moon\" in this manifest; there are: "
            "edge-a\n"},
        mistake{
            "data",
            with("    - {name: edge-b, data: 'builtin:garage', gateway: {http: 127.0.0.1:8082}}\n"),
            "c.yaml:8:28: spec.nodes[1].data: \"builtin:garage\" is not known; builtin:kitchen, "
            "builtin:workshop or a "
            "JSONL file\n"},
        mistake{"looks",
                with("  adapters: [{name: a}]\n"
                     "  federation: [{adapter: a, round: {quorum: 1}, gate: {looks: [32, 16]}}]\n"),
                "c.yaml:9:63: spec.federation[0].gate.looks: must rise from look to look, such as "
                "[16, 32, 64]\n"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    text, manifest_mistake,
    testing::Values(
        mistake{"empty", "",
                "c.yaml:1:1: the text is empty; a manifest starts with apiVersion: "
                "collm.dev/v1alpha1\n"},
        mistake{"only_comments", "# nothing\n---\n",
                "c.yaml:1:1: the text is empty; a manifest starts with apiVersion: "
                "collm.dev/v1alpha1\n"},
        mistake{"a_list", "- a\n",
                "c.yaml:1:1: expects a mapping (apiVersion, kind, metadata, spec), found a list\n"},
        mistake{"not_yaml", "a: [1, 2\n",
                "c.yaml:2:1: is not YAML: end of sequence flow not found\n"},
        // On these two yaml-cpp's own loop over documents does not end.
        mistake{"lone_comma", ",\n",
                "c.yaml:1:1: is not YAML: what stands here belongs to nothing\n"},
        mistake{"comma_behind_a_mapping", "{a: b},\n",
                "c.yaml:1:7: is not YAML: what stands here belongs to nothing\n"},
        // For it the text would end here, whatever follows.
        mistake{"control_character", smallest + "# \x04\n  slo: {ttft: 0s}\n",
                "c.yaml:8:3: is not YAML: a control character\n"},
        mistake{"too_many_values", repeated("- a\n", 70'000),
                "c.yaml:65535:3: more than 65536 values; that is no manifest\n"},
        mistake{"second_document", smallest + "---\n" + smallest,
                "c.yaml:9:1: a second document; one manifest describes one cluster\n"},
        mistake{"other_kind",
                "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  model: {source: x.gguf}\n"
                "  nodes:\n    - {name: e, gateway: {http: 127.0.0.1:1}}\n",
                "c.yaml:1:13: apiVersion: \"v1\" is not a supported apiVersion; one of "
                "collm.dev/v1alpha1\n"
                "c.yaml:2:7: kind: \"Pod\" is not a known kind; one of Cluster\n"},
        mistake{"no_nodes",
                "apiVersion: collm.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec:\n"
                "  model: {source: x.gguf}\n  nodes: []\n",
                "c.yaml:6:10: spec.nodes: is empty; a cluster needs at least one node\n"}),
    [](const auto& info) { return info.param.name; });

TEST(manifest, reports_all_mistakes_in_the_order_of_the_text) {
  const manifest_check check =
      parse_manifest(with("  slo: {ttft: 2, tpo: 1ms}\n  limits: {connections: 0}\n"
                          "  memory: {budget: 1}\n"));
  ASSERT_EQ(check.problems.size(), 4u) << all_of(check);
  EXPECT_EQ(check.problems[0].field, "spec.slo.ttft");
  EXPECT_EQ(check.problems[1].field, "spec.slo.tpo");
  EXPECT_EQ(check.problems[2].field, "spec.limits.connections");
  EXPECT_EQ(check.problems[3].field, "spec.memory.budget");
}

TEST(manifest, refuses_more_nodes_than_it_can_run) {
  std::string yaml = smallest;
  for (int i = 0; i < 64; ++i) {
    yaml += "    - {name: n" + std::to_string(i) +
            ", gateway: {http: 127.0.0.1:" + std::to_string(9000 + i) + "}}\n";
  }
  EXPECT_EQ(all_of(parse_manifest(yaml)),
            "c.yaml:7:5: spec.nodes: has 65 entries; at most 64\n"
            "c.yaml:7:5: spec.nodes: is empty; a cluster needs at least one node\n");
}

TEST(manifest, refuses_a_text_that_is_too_long) {
  EXPECT_EQ(all_of(parse_manifest(std::string((1u << 20) + 1, '#'))),
            "c.yaml:1:1: is larger than 1Mi; that is no manifest\n");
}

TEST(manifest, survives_deep_nesting) {
  EXPECT_FALSE(parse_manifest(std::string(100000, '[')).value);
  EXPECT_FALSE(parse_manifest(std::string(100000, '{')).value);
}

struct strategy_case {
  const char* yaml;
  const char* aggregate;
  const char* robust;
  bool fedbuff;
  double prox;
};

TEST(strategy, is_spelled_in_our_words_or_flowers) {
  const strategy_case cases[] = {{"FedAvg", "fedavg", "none", false, 0},
                                 {"FedMedian", "rolora", "median", false, 0},
                                 {"FedTrimmedAvg", "rolora", "trimmed_mean", false, 0},
                                 {"FedBuff", "fedavg", "none", true, 0},
                                 {"rolora", "rolora", "none", false, 0},
                                 {"{aggregate: FedProx, prox: 0.5}", "fedavg", "none", false, 0.5},
                                 {"{aggregate: ffa, robust: median}", "ffa", "median", false, 0},
                                 {"{aggregate: stack_svd}", "stack_svd", "none", false, 0}};
  for (const strategy_case& c : cases) {
    const manifest_check check = parse_manifest(with(
        std::string(
            "  adapters: [{name: a}]\n  federation: [{adapter: a, round: {quorum: 1}, strategy: ") +
        c.yaml + "}]\n"));
    ASSERT_TRUE(check.value) << c.yaml << "\n" << all_of(check);
    const strategy_spec& s = check.value->federation[0].strategy;
    EXPECT_EQ(s.aggregate, c.aggregate) << c.yaml;
    EXPECT_EQ(s.robust, c.robust) << c.yaml;
    EXPECT_EQ(s.fedbuff, c.fedbuff) << c.yaml;
    EXPECT_DOUBLE_EQ(s.prox, c.prox) << c.yaml;
  }
}

TEST(strategy, lists_what_there_is_when_the_name_is_another) {
  const std::string before =
      "  adapters: [{name: a}]\n  federation: [{adapter: a, round: {quorum: 1}, strategy: ";
  EXPECT_EQ(all_of(parse_manifest(with(before + "Krum}]\n"))),
            "c.yaml:9:59: spec.federation[0].strategy: \"Krum\" is not a strategy; one of fedavg, "
            "ffa, rolora, stack_svd, "
            "FedAvg, FedProx, FedTrimmedAvg, FedMedian, FedBuff\n");
  EXPECT_EQ(all_of(parse_manifest(with(before + "FedProx}]\n"))),
            "c.yaml:9:59: spec.federation[0].strategy: FedProx needs its prox; write {aggregate: "
            "FedProx, prox: 0.1}\n");
  EXPECT_EQ(all_of(parse_manifest(with(before + "{aggregate: FedProx}}]\n"))),
            "c.yaml:9:71: spec.federation[0].strategy.aggregate: FedProx needs a prox over 0, such "
            "as prox: 0.1\n");
  EXPECT_EQ(all_of(parse_manifest(with(before + "{}}]\n"))),
            "c.yaml:9:59: spec.federation[0].strategy.aggregate: is required\n");
}

}  // namespace
}  // namespace collm::deploy
