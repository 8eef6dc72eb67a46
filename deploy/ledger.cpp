#include "deploy/ledger.hpp"

#include <algorithm>

#include "deploy/memory_rates.hpp"
#include "engine/model/base_weights.hpp"

namespace collm::deploy {
namespace {

struct matrix {
  const char* target;
  std::uint64_t in = 0, out = 0;
};

/// The seven matrices of one layer.
std::vector<matrix> layer_matrices(const engine::model_shape& s) {
  const std::uint64_t queries = std::uint64_t{s.heads} * s.head_dim;
  const std::uint64_t keys = std::uint64_t{s.kv_heads} * s.head_dim;
  return {{"q", s.hidden, queries}, {"k", s.hidden, keys},     {"v", s.hidden, keys},
          {"o", queries, s.hidden}, {"gate", s.hidden, s.ffn}, {"up", s.hidden, s.ffn},
          {"down", s.ffn, s.hidden}};
}

/// Numbers of all factors of a version.
std::uint64_t factor_count(const engine::model_shape& s, const ledger_adapter& a) {
  std::uint64_t count = 0;
  for (const matrix& m : layer_matrices(s)) {
    if (std::find(a.targets.begin(), a.targets.end(), m.target) == a.targets.end()) continue;
    count += std::uint64_t{s.layers} * a.rank * (m.in + m.out);
  }
  return count;
}

}  // namespace

std::uint64_t base_bytes(const engine::model_shape& s, engine::precision p) {
  std::uint64_t weights = 0;
  (void)engine::bind_weights(s, p, nullptr, weights);
  return weights + s.vocab * rates::vocabulary_bytes;
}

std::uint64_t version_bytes(const engine::model_shape& s, const ledger_adapter& a) {
  return factor_count(s, a) * (sizeof(float) + rates::half_bytes);
}

std::uint64_t activation_bytes(const engine::model_shape& s, std::uint32_t rows,
                               std::uint32_t outputs, std::uint32_t threads) {
  const std::uint64_t queries = std::uint64_t{s.heads} * s.head_dim;
  const std::uint64_t keys = std::uint64_t{s.kv_heads} * s.head_dim;
  const std::uint32_t widest_in = std::max({s.hidden, s.ffn, s.heads * s.head_dim});
  const std::uint64_t widest_out =
      std::max<std::uint64_t>({s.hidden, 2ull * s.ffn, queries + 2 * keys});
  const std::uint64_t a_row = (s.hidden + widest_in + widest_out) * sizeof(float) + widest_in +
                              std::max(s.ffn, engine::outlier_columns(widest_in));
  const std::uint64_t logits = std::uint64_t{outputs} * s.vocab * sizeof(float);
  const std::uint64_t tables = s.window == 0 ? 1 : 2;  // windowed layers turn by their own angles
  const std::uint64_t rotations = tables * s.context * s.head_dim * sizeof(float);
  const std::uint64_t scores =
      std::uint64_t{threads} * s.context * engine::attention_queries * sizeof(float);
  const std::uint64_t samplers =
      std::uint64_t{threads} * (s.vocab * rates::sampler_bytes + rates::sampler_fixed_bytes);
  return rows * a_row + logits + rotations + scores + samplers;
}

std::uint64_t buffer_bytes(const ledger_input& in) {
  const std::uint64_t connection = in.bounds.header_bytes_max + rates::socket_bytes;
  const std::uint64_t queued = std::uint64_t{in.bounds.queued_requests_max} *
                               in.bounds.prompt_tokens_max * sizeof(std::int32_t);
  const std::uint64_t unsent = std::uint64_t{in.bounds.running_requests_max} *
                               in.bounds.stream_unsent_tokens_max * rates::token_bytes;
  return in.processes * rates::process_bytes +
         in.gateways * in.bounds.connections_max * connection +
         std::uint64_t{in.tls_gateways} * in.bounds.connections_max * rates::tls_bytes +
         in.gateways * std::uint64_t{in.bounds.bodies_max} * in.bounds.request_bytes_max +
         in.replicas.size() * (queued + unsent);
}

std::uint64_t shadow_bytes(const engine::model_shape& s, engine::precision p,
                           const ledger_adapter& a, std::uint32_t batch_tokens) {
  const std::uint64_t queries = std::uint64_t{s.heads} * s.head_dim;
  const std::uint64_t keys = std::uint64_t{s.kv_heads} * s.head_dim;
  const engine::training_options o;
  const std::uint64_t rows = std::max(o.window_tokens, std::min(batch_tokens, o.sample_tokens));
  const std::uint64_t number = p == engine::precision::f32 ? 4 : 2;
  // What a layer keeps of a row for the way back (engine/train/saved_activations.cpp).
  const std::uint64_t kept =
      2 * s.hidden * sizeof(float) + 7ull * a.rank * sizeof(float) +
      (2 * queries + 2 * keys + 2ull * s.ffn + (s.head_norms ? queries + keys : 0) +
       (s.post_norms ? 2ull * s.hidden : 0)) *
          number;
  const std::uint64_t widest = std::max<std::uint64_t>(2ull * s.ffn, queries + 2 * keys);
  const std::uint64_t work = 8 * rows * (widest + s.hidden) * sizeof(float) +
                             3ull * o.head_tokens * s.vocab * sizeof(float) +
                             std::uint64_t{s.context} * s.head_dim * 2 * sizeof(float);
  // Factors and their transposes, twice (the shadow, and a version under evaluation), gradients and
  // both moments, the parent's numbers and the update.
  return 9 * factor_count(s, a) * sizeof(float) +
         rows * (s.layers * kept + s.hidden * sizeof(float)) + work;
}

std::vector<ledger_row> make_ledger(const ledger_input& in) {
  std::uint64_t kv = 0, versions = 0, activations = 0;
  for (const ledger_replica& r : in.replicas) {
    kv += r.kv_bytes;
    activations +=
        activation_bytes(in.shape, in.step_tokens_max, in.bounds.running_requests_max, r.threads);
  }
  for (const ledger_adapter& a : in.adapters) versions += version_bytes(in.shape, a);
  versions *= std::uint64_t{resident_versions_max} * in.engine_processes;
  std::vector<ledger_row> rows = {{"base", base_bytes(in.shape, in.precision), 0, true},
                                  {"kv", kv, kv, false},
                                  {"versions", versions, 0, false},
                                  {"activations", activations, 0, false},
                                  {"buffers", buffer_bytes(in), 0, false}};
  std::uint64_t training = 0;
  for (const ledger_adapter& a : in.learning)
    training += in.replicas.size() * shadow_bytes(in.shape, in.precision, a, in.batch_tokens);
  if (training > 0) rows.push_back({"training", training, 0, false});
  return rows;
}

std::uint64_t sum(const std::vector<ledger_row>& rows) {
  std::uint64_t bytes = 0;
  for (const ledger_row& row : rows) bytes += row.bytes;
  return bytes;
}

}  // namespace collm::deploy
