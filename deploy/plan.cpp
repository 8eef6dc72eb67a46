#include "deploy/plan.hpp"

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>

#include "deploy/manifest_values.hpp"
#include "deploy/plan_model.hpp"

namespace collm::deploy {
namespace fs = std::filesystem;
namespace {

/// Below this a KV cache cannot hold a prompt with its answer.
constexpr std::uint64_t kv_tokens_min = 256;

std::uint64_t kv_token_bytes(const model_plan& m) {
  return engine::kv_token_bytes(m.shape, m.precision);
}

std::string node_field(std::size_t index, const char* name) {
  return "spec.nodes[" + std::to_string(index) + "]." + name;
}

/// Whether `n` runs on the machine of the head, or of the remote node `machine_of`.
bool runs_here(const node_spec& n, const std::string& machine_of) {
  return machine_of.empty() ? n.where != placement::remote : n.name == machine_of;
}

/// One manifest against one machine: each check adds its problems.
class fitting {
 public:
  fitting(const manifest& m, const model_plan& model, const machine& on,
          const std::string& machine_of)
      : m_(m), model_(model), on_(on), machine_of_(machine_of) {}

  std::vector<problem> check(const std::vector<ledger_row>& ledger) {
    check_cores();
    check_caches();
    check_adapter_names();
    check_ranks();
    check_context();
    check_memory(ledger);
    return std::move(problems_);
  }

 private:
  void blame(const std::string& field, std::string message) {
    problems_.push_back({m_.where(field), field, std::move(message)});
  }

  void check_cores() {
    std::uint32_t threads = 0;
    for (std::size_t i = 0; i < m_.nodes.size(); ++i) {
      if (!runs_here(m_.nodes[i], machine_of_)) continue;
      const std::uint32_t before = threads;
      threads += m_.nodes[i].threads * m_.nodes[i].replicas;
      if (before > on_.cores || threads <= on_.cores) continue;
      blame(node_field(i, "threads"),
            "the engines up to this node ask for " + std::to_string(threads) +
                " threads, this process may use " + std::to_string(on_.cores) +
                " cores; lower threads or replicas");
    }
  }

  void check_caches() {
    for (std::size_t i = 0; i < m_.nodes.size(); ++i) {
      const std::uint64_t tokens = m_.nodes[i].kv_bytes / kv_token_bytes(model_);
      if (tokens >= kv_tokens_min) continue;
      blame(node_field(i, "kvCache"), bytes_text(m_.nodes[i].kv_bytes) + " holds " +
                                          std::to_string(tokens) +
                                          " tokens of this model; at least " +
                                          bytes_text(kv_tokens_min * kv_token_bytes(model_)) +
                                          " (" + std::to_string(kv_tokens_min) + " tokens)");
    }
  }

  /// A file's base is called by its stem, which only the found model tells.
  void check_adapter_names() {
    for (std::size_t i = 0; i < m_.adapters.size(); ++i) {
      if (m_.adapters[i].name != model_.name) continue;
      blame("spec.adapters[" + std::to_string(i) + "].name",
            "\"" + model_.name +
                "\" is the base itself, which requests ask for by this name; any " +
                "other name would be right");
    }
  }

  void check_ranks() {
    const std::uint32_t most =
        std::min(model_.shape.hidden, model_.shape.kv_heads * model_.shape.head_dim);
    for (std::size_t i = 0; i < m_.adapters.size(); ++i) {
      if (m_.adapters[i].rank <= most) continue;
      blame("spec.adapters[" + std::to_string(i) + "].rank",
            "rank " + std::to_string(m_.adapters[i].rank) +
                " is over the model's narrowest matrix; at most " + std::to_string(most));
    }
  }

  void check_context() {
    const std::string field = "spec.limits.promptTokens";
    if (!m_.places.contains(field) || m_.bounds.prompt_tokens_max <= model_.shape.context) return;
    blame(field, std::to_string(m_.bounds.prompt_tokens_max) + " is over the model's context of " +
                     std::to_string(model_.shape.context) + " tokens");
  }

  void check_memory(const std::vector<ledger_row>& ledger) {
    const std::string field = "spec.memory.budget";
    if (m_.budget_bytes > on_.memory_bytes) {
      blame(field, bytes_text(m_.budget_bytes) + " is over what this process may have here, " +
                       bytes_text(on_.memory_bytes));
    }
    if (sum(ledger) <= m_.budget_bytes) return;
    std::string rows;
    for (const ledger_row& row : ledger)
      rows += (rows.empty() ? "" : ", ") + row.name + " " + bytes_text(row.bytes);
    blame(field, "the cluster needs " + bytes_text(sum(ledger)) + " (" + rows +
                     "), the budget is " + bytes_text(m_.budget_bytes) +
                     "; raise it, or lower kvCache or replicas");
  }

  const manifest& m_;
  const model_plan& model_;
  const machine& on_;
  const std::string& machine_of_;
  std::vector<problem> problems_;
};

ledger_input ledger_of(const manifest& m, const model_plan& model, const std::string& machine_of) {
  ledger_input in;
  in.shape = model.shape;
  in.precision = model.precision;
  in.step_tokens_max = engine::executor_options{}.step_tokens_max;
  in.bounds = m.bounds;
  in.engine_processes = 0;
  bool engines_in_head = false;
  std::uint32_t nodes = 0;
  for (const node_spec& n : m.nodes) {
    if (!runs_here(n, machine_of)) continue;
    ++nodes;
    for (std::uint32_t r = 0; r < n.replicas; ++r) in.replicas.push_back({n.kv_bytes, n.threads});
    if (n.where == placement::thread)
      engines_in_head = true;
    else
      ++in.engine_processes;
  }
  const std::uint32_t heads = machine_of.empty() ? 1 : 0;
  in.processes = heads + in.engine_processes;
  if (engines_in_head) ++in.engine_processes;
  in.gateways = heads + nodes;
  in.tls_gateways = heads > 0 && m.head.tls ? 1 : 0;
  for (const node_spec& n : m.nodes) in.tls_gateways += n.tls && runs_here(n, machine_of) ? 1 : 0;
  for (const adapter_spec& a : m.adapters) in.adapters.push_back({a.rank, a.targets});
  if (m.coordinator.policy == "inference_only") return in;
  in.batch_tokens = m.training.value_or(training_spec{}).batch_tokens;
  for (const federation_spec& f : m.federation) {
    for (const adapter_spec& a : m.adapters)
      if (a.name == f.adapter)
        in.learning.insert(in.learning.end(), f.alone ? 2 : 1, {a.rank, a.targets});
  }
  return in;
}

std::vector<std::string> inactive_parts(const manifest& m) {
  std::vector<std::string> parts;
  if (m.coordinator.policy != "inference_only") {
    if (m.places.contains("spec.coordinator.slowPeriod"))
      parts.push_back(
          "coordinator.slowPeriod: validated, not active: there is no slow planner yet");
    return parts;
  }
  const std::string why = ": validated, not active: adapters do not learn (policy inference_only)";
  if (m.training) parts.push_back("training" + why);
  for (const federation_spec& f : m.federation) parts.push_back("federation of " + f.adapter + why);
  std::set<std::string> with_data;
  for (const node_spec& n : m.nodes) {
    if (!n.data.empty()) with_data.insert(n.name);
  }
  if (!with_data.empty())
    parts.push_back("data of " + joined({with_data.begin(), with_data.end()}) + why);
  if (m.places.contains("spec.coordinator.slowPeriod"))
    parts.push_back("coordinator.slowPeriod" + why);
  return parts;
}

/// Who only trains, and whose data nobody trains on: a node's replicas train on its own.
void add_split_notes(const manifest& m, std::vector<std::string>& notes) {
  const auto apart = set_apart(m.nodes, m.coordinator);
  if (!apart || apart->empty()) return;
  notes.push_back("only train (static_split): " + joined({apart->begin(), apart->end()}));
  for (const node_spec& n : m.nodes) {
    std::uint32_t trainers = 0;
    for (std::uint32_t i = 0; i < n.replicas; ++i)
      trainers += apart->contains(replica_name(n.name, i)) ? 1 : 0;
    if (trainers == 0 && !n.data.empty())
      notes.push_back("nobody trains on " + n.name + "'s data: none of its replicas is set apart");
    if (trainers == n.replicas)
      notes.push_back(n.name + " answers no request: all its replicas are set apart");
  }
}

std::vector<std::string> notes_of(const manifest& m, const model_plan& model) {
  std::vector<std::string> notes;
  for (const node_spec& n : m.nodes) {
    if (n.where == placement::thread) {
      notes.push_back(n.name + " runs in the head's process: residency of site " + n.site +
                      " does not hold");
    }
    const std::uint64_t tokens = n.kv_bytes / kv_token_bytes(model);
    if (tokens < m.bounds.prompt_tokens_max) {
      notes.push_back(n.name + "'s KV cache holds " + std::to_string(tokens) +
                      " tokens: longer requests are refused");
    }
  }
  add_split_notes(m, notes);
  if (!m.tenants.empty() && m.admin_key_sha256.empty())
    notes.push_back("whoever is on this machine may use the admin paths (spec.admin has no key)");
  for (const adapter_spec& a : m.adapters) {
    if (a.spill) notes.push_back("requests for " + a.name + " may leave their site (spill)");
  }
  return notes;
}

void check_paths(const manifest& m, const fs::path& base_dir, const std::string& machine_of,
                 std::vector<problem>& problems) {
  std::error_code ignored;  // a path that cannot be read counts as not there
  const auto blame = [&](const std::string& field, std::string message) {
    problems.push_back({m.where(field), field, std::move(message)});
  };
  for (std::size_t i = 0; i < m.adapters.size(); ++i) {
    const std::string& path = m.adapters[i].path;
    const fs::path folder = resolve(path, base_dir);
    if (path.empty() || fs::is_regular_file(folder / "adapter_config.json", ignored)) continue;
    blame("spec.adapters[" + std::to_string(i) + "].path",
          "no PEFT adapter in " + folder.string() +
              " (adapter_config.json and adapter_model.safetensors)");
  }
  for (std::size_t i = 0; i < m.nodes.size(); ++i) {
    const std::string& data = m.nodes[i].data;
    if (data.empty() || data.starts_with("builtin:") || !runs_here(m.nodes[i], machine_of))
      continue;
    const fs::path file = resolve(data, base_dir);
    if (!fs::is_regular_file(file, ignored) && !fs::is_directory(file, ignored))
      blame(node_field(i, "data"), "no file or folder " + file.string());
  }
  const auto check_tls = [&](const std::optional<tls_spec>& tls, const std::string& field) {
    for (const auto& [name, file] :
         {std::pair("certificate", tls ? tls->certificate : ""), {"key", tls ? tls->key : ""}}) {
      const fs::path pem = resolve(file, base_dir);
      if (tls && !fs::is_regular_file(pem, ignored))
        blame(field + "." + name, "no file " + pem.string() + "; PEM is expected there");
    }
  };
  check_tls(m.head.tls, "spec.head.gateway.tls");
  for (std::size_t i = 0; i < m.nodes.size(); ++i)
    check_tls(m.nodes[i].tls, node_field(i, "gateway.tls"));
  const fs::path state = resolve(m.head.state_dir, base_dir);
  if (fs::exists(state, ignored) && !fs::is_directory(state, ignored)) {
    blame("spec.head.stateDir", state.string() + " is not a folder");
  }
}

spawn_plan plan_of(const manifest& m, const model_plan& model, std::vector<ledger_row> ledger,
                   const std::string& machine_of) {
  spawn_plan p;
  p.machine_of = machine_of;
  p.cluster = m.name;
  p.model = model;
  p.adapters = m.adapters;
  p.head = {m.head.state_dir,
            m.head.http,
            m.head.tls,
            m.head.capnp,
            m.head.link,
            m.head.enrol,
            m.head.host.empty() ? m.head.link.host : m.head.host};
  p.nodes = m.nodes;
  p.slo = m.slo;
  p.training = m.training.value_or(training_spec{});
  p.federation = m.federation;
  p.coordinator = m.coordinator;
  if (const auto apart = set_apart(m.nodes, m.coordinator)) p.trainers = *apart;
  p.bounds = m.bounds;
  p.bounds.prompt_tokens_max = std::min(p.bounds.prompt_tokens_max, model.shape.context);
  p.tenants = m.tenants;
  p.admin_key_sha256 = m.admin_key_sha256;
  p.inactive = inactive_parts(m);
  p.notes = notes_of(m, model);
  p.ledger = std::move(ledger);
  p.budget_bytes = m.budget_bytes;
  return p;
}

void resolve_paths(spawn_plan& p, const fs::path& base_dir) {
  p.base_dir = base_dir;
  p.head.state_dir = resolve(p.head.state_dir.string(), base_dir);
  const auto resolve_tls = [&](std::optional<tls_spec>& tls) {
    if (!tls) return;
    tls->certificate = resolve(tls->certificate, base_dir).string();
    tls->key = resolve(tls->key, base_dir).string();
  };
  resolve_tls(p.head.tls);
  for (adapter_spec& a : p.adapters) {
    if (!a.path.empty()) a.path = resolve(a.path, base_dir).string();
  }
  for (node_plan& n : p.nodes) {
    if (p.here(n)) resolve_tls(n.tls);
    if (!n.data.empty() && !n.data.starts_with("builtin:") && p.here(n))
      n.data = resolve(n.data, base_dir).string();
  }
}

}  // namespace

std::vector<std::string> catalogue() { return {"smollm2-135m-instruct", "gemma3-270m"}; }

plan_check fit_plan(const manifest& m, const model_plan& model, const machine& on,
                    const std::string& machine_of) {
  std::vector<ledger_row> ledger = make_ledger(ledger_of(m, model, machine_of));
  std::vector<problem> problems = fitting(m, model, on, machine_of).check(ledger);
  if (!problems.empty()) return {std::nullopt, std::move(problems)};
  return {plan_of(m, model, std::move(ledger), machine_of), {}};
}

plan_check make_plan(std::string_view yaml, const fs::path& base_dir, const machine& on,
                     const std::string& machine_of) {
  manifest_check parsed = parse_manifest(yaml);
  if (!parsed.value) return {std::nullopt, std::move(parsed.problems)};
  const fs::path from = fs::absolute(base_dir);
  std::vector<problem> problems;
  check_paths(*parsed.value, from, machine_of, problems);
  auto model = find_model(parsed.value->model, from, on.cache_dir);
  if (!model) {
    const std::string field = "spec.model.source";
    problems.push_back({parsed.value->where(field), field, model.failure().message});
    return {std::nullopt, std::move(problems)};
  }
  plan_check fitted = fit_plan(*parsed.value, *model, on, machine_of);
  fitted.problems.insert(fitted.problems.end(), problems.begin(), problems.end());
  if (!fitted.problems.empty()) return {std::nullopt, std::move(fitted.problems)};
  fitted.plan->manifest_text = std::string(yaml);
  resolve_paths(*fitted.plan, from);
  return fitted;
}

std::uint64_t spawn_plan::planned_bytes() const { return sum(ledger); }

bool spawn_plan::here(const node_plan& n) const { return runs_here(n, machine_of); }

std::size_t spawn_plan::nodes_here() const {
  return static_cast<std::size_t>(
      std::count_if(nodes.begin(), nodes.end(), [this](const node_plan& n) { return here(n); }));
}

bool spawn_plan::serves(const node_plan& n) const {
  for (std::uint32_t i = 0; i < n.replicas; ++i)
    if (!trainers.contains(replica_name(n.name, i))) return true;
  return false;
}

const node_plan* spawn_plan::node(const std::string& name) const {
  for (const node_plan& n : nodes) {
    if (n.name == name) return &n;
  }
  return nullptr;
}

result<fs::path> keep_manifest(const spawn_plan& plan) {
  const fs::path file = plan.head.state_dir / "cluster.yaml",
                 fresh = plan.head.state_dir / "cluster.yaml.new";
  std::error_code failed;
  fs::create_directories(plan.head.state_dir, failed);
  if (failed)
    return error{errc::io, "cannot make " + plan.head.state_dir.string() + ": " + failed.message()};
  std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
  out << plan.manifest_text << std::flush;
  if (!out) return error{errc::io, "cannot write " + fresh.string()};
  fs::rename(fresh, file, failed);
  if (failed) return error{errc::io, "cannot write " + file.string() + ": " + failed.message()};
  return file;
}

std::vector<std::string> node_arguments(const spawn_plan& plan, const std::string& node,
                                        std::uint64_t incarnation) {
  return {"node",          node,
          "--file",        (plan.head.state_dir / "cluster.yaml").string(),
          "--base-dir",    plan.base_dir.string(),
          "--incarnation", std::to_string(incarnation)};
}

}  // namespace collm::deploy
