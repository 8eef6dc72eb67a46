// The memory ledger: every large allocation of a cluster by name, estimated before anything starts.
// Pure arithmetic; what is really held comes later from engine::memory_view under the same names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "messages/limits.hpp"

namespace collm::deploy {

struct ledger_row {
  std::string name;  ///< "base", "kv", "versions", "activations", "buffers", "training"
  std::uint64_t bytes = 0;
  std::uint64_t budget = 0;  ///< 0: not bounded apart
  bool shared = false;       ///< one copy a machine
};

/// One replica, as the ledger sees it.
struct ledger_replica {
  std::uint64_t kv_bytes = 0;
  std::uint32_t threads = 1;
};

/// One adapter, as the ledger sees it.
struct ledger_adapter {
  std::uint32_t rank = 0;
  std::vector<std::string> targets;  ///< of q, k, v, o, gate, up, down
};

struct ledger_input {
  engine::model_shape shape;
  engine::precision precision = engine::precision::int8;
  std::vector<ledger_replica> replicas;
  std::vector<ledger_adapter> adapters;
  std::uint32_t processes = 1;  ///< head and node processes
  std::uint32_t engine_processes =
      1;  ///< of these: processes that hold engines, and so every version
  std::uint32_t gateways = 1, tls_gateways = 0;
  std::uint32_t step_tokens_max = 512;
  limits bounds;
  std::vector<ledger_adapter> learning;  ///< a shadow in every replica; of two that learn, two
  std::uint32_t batch_tokens = 1024;     ///< of their batches
};

std::uint64_t base_bytes(const engine::model_shape& shape, engine::precision p);
/// As it trains, and in half precision as it serves (docs/adr/0008).
std::uint64_t version_bytes(const engine::model_shape& shape, const ledger_adapter& a);
/// `rows` of one step, `outputs` of them with logits.
std::uint64_t activation_bytes(const engine::model_shape& shape, std::uint32_t rows,
                               std::uint32_t outputs, std::uint32_t threads);
std::uint64_t buffer_bytes(const ledger_input& in);
/// One shadow: factors, gradients and moments, a version that is evaluated beside it, activations.
/// Not less than engine::plan_training() of the same.
std::uint64_t shadow_bytes(const engine::model_shape& shape, engine::precision p,
                           const ledger_adapter& a, std::uint32_t batch_tokens);

/// Versions of one adapter that are resident at once: the one that serves, and the one being loaded
/// in its place.
inline constexpr std::uint32_t resident_versions_max = 2;

/// All rows, in this order; training only where an adapter learns.
std::vector<ledger_row> make_ledger(const ledger_input& in);
std::uint64_t sum(const std::vector<ledger_row>& rows);

}  // namespace collm::deploy
