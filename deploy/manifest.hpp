// The manifest: the YAML file that describes a cluster, as plain values, every field checked with
// its line and column. Pure: reads no files and knows no machine; whether it fits one is plan.hpp's
// question.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.hpp"
#include "messages/limits.hpp"

namespace collm::deploy {

/// Where a field stands in the manifest's text, both from 1. line 0: nowhere (the text is at fault
/// as a whole).
struct place {
  std::uint32_t line = 0, column = 0;
  friend auto operator<=>(const place&, const place&) = default;
};

/// One thing that is wrong and what would be right.
struct problem {
  place where;
  std::string field;  ///< "spec.nodes[0].threads"; empty: the whole text
  std::string message;
};

/// "cluster.yaml:12:7: spec.nodes[0].threads: ..."
std::string to_string(const problem& p, std::string_view file);

struct address {
  std::string host;  ///< an IP address, or localhost
  std::uint16_t port = 0;
  friend bool operator==(const address&, const address&) = default;
};
std::string to_string(const address& a);

/// PEM files of a gateway, as written.
struct tls_spec {
  std::string certificate, key;
};
/// What a client writes: "https://127.0.0.1:8080", http without TLS.
std::string url_of(const address& a, const std::optional<tls_spec>& tls);
/// What a status shows: the URL with TLS, "127.0.0.1:8080" without.
std::string shown_address(const address& a, const std::optional<tls_spec>& tls);

/// thread: in the head's process (residency does not hold). process: spawned and supervised by the
/// head. remote: started by somebody else, mostly on another machine; joins with a token.
enum class placement : std::uint8_t { thread, process, remote };
std::string_view to_string(placement p);

struct model_spec {
  std::string source;  ///< catalogue name, .gguf or folder, as written
  engine::precision precision = engine::precision::int8;
};

struct adapter_spec {
  std::string name;
  std::uint32_t rank = 8;
  float alpha = 16;  ///< the scale is alpha / rank; rsLora is in it
  std::vector<std::string> targets = {"q", "k", "v", "o", "gate", "up", "down"};
  bool spill = false;  ///< true: requests may leave their site
  std::string path;    ///< PEFT folder of the first version; empty: A random, B = 0
};

struct head_spec {
  std::string state_dir = "./state";
  address http{"127.0.0.1", 8080};
  std::optional<tls_spec> tls;  ///< none: plain HTTP, on loopback only
  std::optional<address> capnp;
  address link{"127.0.0.1", 8099};
  std::optional<address> enrol;  ///< where remote nodes get their certificates
  std::string host;              ///< name or address under which remote nodes reach link and enrol
};

struct node_spec {
  std::string name, site;  ///< site: the node's name unless given
  placement where = placement::process;
  std::uint32_t replicas = 1;
  std::uint32_t threads = 1;              ///< engine threads of each replica
  std::uint64_t kv_bytes = 512ull << 20;  ///< KV cache of each replica
  std::string data;                       ///< "builtin:kitchen", or a JSONL file; empty: none
  address http;
  std::optional<tls_spec> tls;  ///< as the head's
  std::optional<address> capnp;
};

struct slo_spec {
  std::uint32_t ttft_ms = 2000, tpot_ms = 120;
};

struct training_spec {
  std::uint32_t batch_tokens = 1024, warmup_steps = 10, max_unit_ms = 20;
  double learning_rate = 1e-3, clip = 1.0, weight_decay = 0;
  double lora_plus_ratio = 1;      ///< rate of B over rate of A
  std::uint32_t cosine_steps = 0;  ///< the rate falls to 0 in so many steps; 0: it stays
};

struct strategy_spec {
  std::string aggregate = "fedavg";  ///< fedavg, ffa, rolora, stack_svd
  double prox = 0;
  bool fedbuff = false;         ///< async: fedbuff
  std::string robust = "none";  ///< none, trimmed_mean, median
};

/// A site that trains fewer directions than the adapter has.
struct site_rank {
  std::string site;
  std::uint32_t rank = 0;
};

struct federation_spec {
  std::string adapter;
  strategy_spec strategy;
  std::vector<site_rank> ranks;  ///< stack_svd alone
  std::uint32_t deadline_ms = 60000, quorum = 2, steps = 6;
  std::vector<std::uint32_t> looks = {16, 32, 64};
  double margin = 0.005, worst_site = 0.02, guard = 0.02;
  bool standing = true;  ///< rounds also without a job, as long as something is gained
  bool alone = false;  ///< control: alone; each site also trains a copy that never meets the others
  bool canary = false;  ///< asked for: gate.canary is written, with a share above 0
  double canary_share = 0.5;
  std::uint32_t canary_completions = 20, canary_max_time_ms = 15000;
};

struct coordinator_spec {
  std::string policy = "coserve_fill";
  double train_share = 0.5;  ///< static_split: part of each site's replicas that only trains
  std::uint32_t slow_period_ms = 10000;
};

struct tenant_spec {
  std::string name, key_sha256, site;
  bool interactive = true;    ///< class; false: batch
  double requests_per_s = 0;  ///< 0: not bounded apart
  double tokens_per_s = 0;    ///< of prompts and answers; 0: not bounded apart
};

struct manifest {
  std::string name;
  std::map<std::string, std::string> labels, annotations;
  model_spec model;
  std::uint64_t budget_bytes = 3ull << 30;  ///< memory of the whole cluster on this machine
  std::vector<adapter_spec> adapters;
  head_spec head;
  std::vector<node_spec> nodes;
  slo_spec slo;
  std::optional<training_spec> training;
  std::vector<federation_spec> federation;
  coordinator_spec coordinator;
  std::vector<tenant_spec> tenants;
  std::string admin_key_sha256;  ///< empty: admin paths are for callers on this machine
  limits bounds;
  std::map<std::string, place> places;  ///< of every field that was written, by its path

  /// Of that field, or of the nearest parent that was written.
  place where(std::string field) const;
};

/// "edge-a/0", as requests, rounds and metrics call it.
std::string replica_name(const std::string& node, std::uint32_t index);

/// The replicas that only train, by name: none unless the policy is static_split. bad_request: a
/// site would keep none that serves; says what would be right.
result<std::set<std::string>> set_apart(const std::vector<node_spec>& nodes,
                                        const coordinator_spec& c);

/// `value` is there exactly if `problems` is empty.
struct manifest_check {
  std::optional<manifest> value;
  std::vector<problem> problems;  ///< all of them, in the order of the text
};

/// Reads one Cluster document. Never throws; the text may come from anywhere.
manifest_check parse_manifest(std::string_view yaml);

/// Patterns of all fields that a manifest may hold ("spec.nodes[].threads"), sorted: what the
/// editor's schema must list.
std::vector<std::string> manifest_fields();

/// The manifest that `collm up` starts without -f; embedded in the binary.
std::string_view builtin_manifest();

}  // namespace collm::deploy
