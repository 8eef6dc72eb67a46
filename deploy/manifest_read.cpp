#include "deploy/manifest_read.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "deploy/manifest_strategy.hpp"

namespace collm::deploy {
namespace {

constexpr std::uint64_t Ki = 1024, Mi = 1024 * Ki, Gi = 1024 * Mi;
constexpr std::uint32_t hour_ms = 3600 * 1000;

const std::string native_loopback = "the Cap'n Proto port has neither keys nor TLS";

void read_model(section model, model_spec& out) {
  std::string precision = "int8";
  model.read("source", out.source, any_text(), presence::required);
  model.read("precision", precision, word_of("precision", {"int8", "f32"}));
  out.precision = precision == "f32" ? engine::precision::f32 : engine::precision::int8;
  model.close();
}

void read_memory(section memory, std::uint64_t& budget) {
  memory.read("budget", budget, bytes_between(64 * Mi, 64 * 1024 * Gi));
  memory.close();
}

void read_adapter(section& item, adapter_spec& out) {
  const std::vector<std::string> targets = {"q", "k", "v", "o", "gate", "up", "down"};
  double alpha = out.alpha;
  bool rank_stabilised = false;
  std::string residency;
  item.read("name", out.name, adapter_name(), presence::required);
  item.read("rank", out.rank, whole_between(1, 256));
  item.read("alpha", alpha, real_between(0.001, 4096));
  item.read("rsLora", rank_stabilised, yes_or_no());
  item.read_list("targets", out.targets, word_of("target", targets), targets.size());
  item.read("residency", residency, word_of("residency", {"site"}));
  item.read("spill", out.spill, yes_or_no());
  item.read("path", out.path, any_text());
  out.alpha = static_cast<float>(rank_stabilised ? alpha * std::sqrt(static_cast<double>(out.rank))
                                                 : alpha);
  auto sorted = out.targets;
  std::sort(sorted.begin(), sorted.end());
  if (sorted.empty()) item.blame("targets", "is empty; at least one of " + joined(targets));
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    item.blame("targets", "names a target twice");
  }
}

void read_tls(section tls, std::optional<tls_spec>& out) {
  tls_spec files;
  tls.read("certificate", files.certificate, any_text(), presence::required);
  tls.read("key", files.key, any_text(), presence::required);
  tls.close();
  if (tls.present()) out = files;
}

template <class Gateway>
void read_gateway(section gateway, Gateway& out, presence http) {
  gateway.read("http", out.http, any_address(), http);
  read_tls(gateway.child("tls"), out.tls);
  gateway.read("capnp", out.capnp, loopback_address(native_loopback));
  gateway.close();
}

void read_head(section head, head_spec& out) {
  head.read("stateDir", out.state_dir, any_text());
  read_gateway(head.child("gateway"), out, presence::optional);
  head.read("listen", out.link, any_address());
  head.read("enrol", out.enrol, any_address());
  head.read("host", out.host, host_name());
  head.close();
}

value_parser<placement> a_placement() {
  return [](const std::string& text) -> result<placement> {
    if (text == "process") return placement::process;
    if (text == "thread") return placement::thread;
    if (text == "remote") return placement::remote;
    return error{errc::bad_request,
                 "\"" + text + "\" is not a placement; one of process, thread, remote"};
  };
}

value_parser<std::string> a_data_source() {
  return [](const std::string& text) -> result<std::string> {
    if (text.starts_with("builtin:") && text != "builtin:kitchen" && text != "builtin:workshop") {
      return error{
          errc::bad_request,
          "\"" + text + "\" is not known; builtin:kitchen, builtin:workshop or a JSONL file"};
    }
    if (text.empty()) return error{errc::bad_request, "is empty; leave the field out for no data"};
    return text;
  };
}

void read_node(section& item, node_spec& out) {
  item.read("name", out.name, label(), presence::required);
  item.read("site", out.site, label());
  item.read("placement", out.where, a_placement());
  item.read("replicas", out.replicas, whole_between(1, 16));
  item.read("threads", out.threads, whole_between(1, 1024));
  item.read("kvCache", out.kv_bytes, bytes_between(1 * Mi, 64 * 1024 * Gi));
  item.read("data", out.data, a_data_source());
  read_gateway(item.child("gateway", presence::required), out, presence::required);
  if (out.site.empty()) out.site = out.name;
}

void read_slo(section slo, slo_spec& out) {
  slo.read("ttft", out.ttft_ms, milliseconds_between(1, hour_ms));
  slo.read("tpot", out.tpot_ms, milliseconds_between(1, hour_ms));
  slo.close();
}

void read_training(section training, std::optional<training_spec>& out) {
  training_spec t;
  training.read("batchTokens", t.batch_tokens, whole_between(16, 1u << 20));
  training.read("learningRate", t.learning_rate, real_between(1e-8, 1));
  training.read("warmupSteps", t.warmup_steps, whole_between(0, 1000000));
  training.read("cosineSteps", t.cosine_steps, whole_between(0, 1000000));
  training.read("clip", t.clip, real_between(1e-6, 1e6));
  training.read("weightDecay", t.weight_decay, real_between(0, 1));
  training.read("loraPlusRatio", t.lora_plus_ratio, real_between(1, 1000));
  training.read("maxUnit", t.max_unit_ms, milliseconds_between(1, 60000));
  if (t.cosine_steps != 0 && t.cosine_steps <= t.warmup_steps)
    training.blame("cosineSteps", "must be more than warmupSteps");
  training.close();
  if (training.present()) out = t;
}

void read_canary(section canary, federation_spec& out) {
  // What serves must answer some, too, or there is nothing to compare with.
  canary.read("share", out.canary_share, real_between(0, 0.9));
  canary.read("completions", out.canary_completions, whole_between(1, 1000000));
  canary.read("maxTime", out.canary_max_time_ms, milliseconds_between(1, 24 * hour_ms));
  canary.close();
  out.canary = canary.present() && out.canary_share > 0;
}

void read_gate(section gate, federation_spec& out) {
  gate.read_list("looks", out.looks, whole_between(1, 1000000), 16);
  gate.read("margin", out.margin, real_between(0, 10));
  gate.read("worstSite", out.worst_site, real_between(0, 10));
  gate.read("guard", out.guard, real_between(0, 10));
  read_canary(gate.child("canary"), out);
  if (out.looks.empty()) gate.blame("looks", "is empty; sample counts such as [16, 32, 64]");
  if (!std::is_sorted(out.looks.begin(), out.looks.end(), std::less_equal<>())) {
    gate.blame("looks", "must rise from look to look, such as [16, 32, 64]");
  }
  gate.close();
}

void read_site_rank(section& item, site_rank& out) {
  item.read("site", out.site, label(), presence::required);
  item.read("rank", out.rank, whole_between(1, 256), presence::required);
}

void read_federation(section& item, federation_spec& out) {
  item.read("adapter", out.adapter, adapter_name(), presence::required);
  read_strategy(item, out.strategy);
  item.each("ranks", nodes_max,
            [&](section& of_site) { read_site_rank(of_site, out.ranks.emplace_back()); });
  section round = item.child("round");
  round.read("deadline", out.deadline_ms, milliseconds_between(1000, 24 * hour_ms));
  round.read("quorum", out.quorum, whole_between(1, 1000000));
  round.read("steps", out.steps, whole_between(1, 1000000));
  round.close();
  read_gate(item.child("gate"), out);
  item.read("standing", out.standing, yes_or_no());
  std::string control;
  item.read("control", control, word_of("control", {"none", "alone"}));
  out.alone = control == "alone";
}

value_parser<std::string> a_policy() {
  return [](const std::string& text) -> result<std::string> {
    const std::vector<std::string> unbuilt = {"two_timescale", "static_share", "fixed_rr"};
    const std::vector<std::string> built = {"coserve_fill", "static_split", "inference_only"};
    if (std::find(built.begin(), built.end(), text) != built.end()) return text;
    const bool known = std::find(unbuilt.begin(), unbuilt.end(), text) != unbuilt.end();
    return error{errc::bad_request, "policy \"" + text + "\" is not " +
                                        (known ? "built yet" : "known") +
                                        "; supported: " + joined(built)};
  };
}

void read_coordinator(section coordinator, coordinator_spec& out) {
  coordinator.read("policy", out.policy, a_policy());
  coordinator.read("trainShare", out.train_share, one_of({0.25, 0.5, 0.75}));
  if (coordinator.has("trainShare") && out.policy != "static_split")
    coordinator.blame("trainShare", "is of the policy static_split, not of " + out.policy +
                                        "; leave it out, or choose that policy");
  coordinator.read("slowPeriod", out.slow_period_ms, milliseconds_between(1000, hour_ms));
  coordinator.close();
}

void read_tenant(section& item, tenant_spec& out) {
  std::string kind = "interactive";
  item.read("name", out.name, label(), presence::required);
  item.read("keySha256", out.key_sha256, sha256_hex(), presence::required);
  item.read("site", out.site, label(), presence::required);
  item.read("class", kind, word_of("class", {"interactive", "batch"}));
  item.read("rate", out.requests_per_s, rate());
  item.read("tokenRate", out.tokens_per_s, rate());
  out.interactive = kind == "interactive";
}

void read_admin(section admin, std::string& key_sha256) {
  admin.read("keySha256", key_sha256, sha256_hex(), presence::required);
  admin.close();
}

void read_limits(section bounds, limits& out) {
  std::uint64_t request_bytes = out.request_bytes_max;
  bounds.read("requestBytes", request_bytes, bytes_between(1 * Ki, 64 * Mi));
  bounds.read("promptTokens", out.prompt_tokens_max, whole_between(1, 1u << 20));
  bounds.read("queuedRequests", out.queued_requests_max, whole_between(1, 65536));
  bounds.read("connections", out.connections_max, whole_between(1, 65536));
  // From one second after /health says so, lest an engine be replaced that nobody saw ill.
  bounds.read("engineSilence", out.engine_silence_ms_max, milliseconds_between(6'000, 600'000));
  out.request_bytes_max = request_bytes;
  bounds.close();
}

template <class T>
void read_each(section& spec, const std::string& name, std::size_t most, std::vector<T>& out,
               void (*body)(section&, T&), presence need = presence::optional) {
  spec.each(
      name, most, [&](section& item) { body(item, out.emplace_back()); }, need);
}

void read_spec(section spec, manifest& out) {
  read_model(spec.child("model", presence::required), out.model);
  read_memory(spec.child("memory"), out.budget_bytes);
  read_each(spec, "adapters", adapters_max, out.adapters, read_adapter);
  read_head(spec.child("head"), out.head);
  read_each(spec, "nodes", nodes_max, out.nodes, read_node, presence::required);
  if (spec.has("nodes") && out.nodes.empty())
    spec.blame("nodes", "is empty; a cluster needs at least one node");
  read_slo(spec.child("slo"), out.slo);
  read_training(spec.child("training"), out.training);
  read_each(spec, "federation", federations_max, out.federation, read_federation);
  read_coordinator(spec.child("coordinator"), out.coordinator);
  read_each(spec, "tenants", tenants_max, out.tenants, read_tenant);
  read_admin(spec.child("admin"), out.admin_key_sha256);
  read_limits(spec.child("limits"), out.bounds);
  spec.close();
}

}  // namespace

void read_cluster(section& document, manifest& out) {
  std::string version, kind;
  document.read("apiVersion", version, word_of("supported apiVersion", {"collm.dev/v1alpha1"}),
                presence::required);
  document.read("kind", kind, word_of("known kind", {"Cluster"}), presence::required);
  section metadata = document.child("metadata", presence::required);
  metadata.read("name", out.name, label(), presence::required);
  metadata.read_texts("labels", out.labels);
  metadata.read_texts("annotations", out.annotations);
  metadata.close();
  read_spec(document.child("spec", presence::required), out);
  document.close();
}

}  // namespace collm::deploy
