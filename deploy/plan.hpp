// The spawn plan: a manifest that was found to fit this machine, as a value: what is spawned where,
// with which memory. What cluster.hpp starts and `collm plan` prints. Makes nothing and opens no
// port.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "deploy/ledger.hpp"
#include "deploy/manifest.hpp"
#include "engine/engine.hpp"
#include "messages/limits.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

struct model_plan {
  std::string name;            ///< what clients call it: "smollm2-135m-instruct"
  std::filesystem::path file;  ///< absolute, a .gguf or a Hugging Face folder
  std::uint64_t file_bytes = 0;
  engine::precision precision = engine::precision::int8;
  engine::model_shape shape;  ///< from the file's header, or config.json
};

struct head_plan {
  std::filesystem::path state_dir;  ///< absolute; may not exist yet
  address http;
  std::optional<tls_spec> tls;  ///< paths are absolute
  std::optional<address> capnp;
  address link;  ///< mutual TLS; certificates under state_dir
  std::optional<address> enrol;
  std::string host;  ///< where remote nodes reach link and enrol
};

/// Hosts are IP addresses. All bytes and threads are of each of the `replicas`.
using node_plan = node_spec;

struct spawn_plan {
  std::string cluster;
  std::string
      manifest_text;  ///< what nodes parse again, so that an edited file cannot split the cluster
  std::filesystem::path base_dir;  ///< absolute; what the manifest's relative paths start from
  model_plan model;
  std::vector<adapter_spec> adapters;  ///< path: absolute or empty
  head_plan head;
  std::vector<node_plan> nodes;
  slo_spec slo;
  training_spec training;
  std::vector<federation_spec> federation;
  coordinator_spec coordinator;
  std::set<std::string> trainers;  ///< replicas that only train, by name (policy static_split)
  limits bounds;
  std::vector<tenant_spec> tenants;
  std::string admin_key_sha256;       ///< empty: none
  std::vector<std::string> inactive;  ///< parts that are validated and not active yet, with why
  std::vector<std::string> notes;     ///< what the reader of `collm plan` should know
  std::vector<ledger_row> ledger;
  std::uint64_t budget_bytes = 0;
  std::string machine_of;  ///< the remote node whose machine this is; empty: the head's

  /// Whether it runs on the machine that this plan was made for.
  bool here(const node_plan& n) const;
  std::size_t nodes_here() const;
  /// Whether any of its replicas answers requests.
  bool serves(const node_plan& n) const;
  /// Adapters learn here: the policy is not inference_only and an adapter is federated.
  bool learns() const { return coordinator.policy != "inference_only" && !federation.empty(); }
  std::uint64_t planned_bytes() const;  ///< sum of the ledger
  const node_plan* node(const std::string& name) const;
};

/// What a plan must know of the machine; tests give their own.
struct machine {
  std::uint32_t cores = 0;
  std::uint64_t memory_bytes = 0;
  std::filesystem::path cache_dir;  ///< models/<catalogue name>.gguf lie here
  static machine
  here();  ///< cores this process may use, memory of the system or its control group, COLLM_CACHE
};

/// `plan` is there exactly if `problems` is empty.
struct plan_check {
  std::optional<spawn_plan> plan;
  std::vector<problem> problems;
};

/// Parses and checks `yaml` against this machine: files there, threads within cores, ledger within
/// budget. `machine_of`: as spawn_plan has it.
plan_check make_plan(std::string_view yaml, const std::filesystem::path& base_dir,
                     const machine& on, const std::string& machine_of = "");

/// The same without touching a file: does `m` fit `on` with that model?
plan_check fit_plan(const manifest& m, const model_plan& model, const machine& on,
                    const std::string& machine_of = "");

/// Catalogue names that `model.source` may hold.
std::vector<std::string> catalogue();

// -- how the head tells a node process what to be

/// Writes the plan's manifest to state_dir/cluster.yaml (atomically, making the folder) and returns
/// that path.
result<std::filesystem::path> keep_manifest(const spawn_plan& plan);

/// argv[1..] of a node process of this plan: `collm node NAME --file ... --base-dir ...
/// --incarnation N`.
std::vector<std::string> node_arguments(const spawn_plan& plan, const std::string& node,
                                        std::uint64_t incarnation);

}  // namespace collm::deploy
