#include "tests/simulation/cluster/head.hpp"

#include <set>

#include "tests/simulation/cluster/lying_stores.hpp"
#include "tests/support/modelled_telemetry.hpp"

namespace collm::simulation {

sim_head::sim_head(world& in, head_options o, std::shared_ptr<testing_support::power> p)
    : proc(in.start("head")), power(std::move(p)), in_(in), o_(std::move(o)) {
  using namespace actors;
  versions = std::make_shared<lying_versions>(
      in_, std::make_unique<testing_support::powered_versions>(
               std::move(*store::open_version_store(o_.folder / "registry.db")), *power));
  auto told = testing_support::modelled_telemetry("head", "", std::make_shared<meter_board>(),
                                                  board->make("telemetry", ""));
  told.on_event = [this](const auto& e) { in_.hear(*e.read()); };
  telemetry = proc->spawn(telemetry_behavior, std::move(told));
  registry = proc->spawn(registry_behavior, registry_deps{versions, "base", telemetry, "head",
                                                          board->make("registry", "")});
  std::set<std::string> sites;
  for (const auto& n : o_.nodes) sites.insert(n.site);
  ingress = proc->spawn(site_router_behavior, std::vector<std::string>(sites.begin(), sites.end()),
                        board->make("site_router", ""));
  if (o_.learns.on) spawn_learning();
  spawn_supervisor();
  ends_ = {proc, spawn_courier(*proc), supervisor_actor(supervisor), registry_actor(registry),
           aggregator_actor(aggregator)};
  gate = std::make_unique<head_gate>(in_, ends_);
  std::map<std::string, std::string> sites_of;
  for (const auto& n : o_.nodes) sites_of[n.name] = n.site;
  gateway = std::make_unique<sim_gateway>(
      in_, proc,
      gateway_ends{router_actor(ingress), telemetry, board->make("bridge", ""), "", sites_of});
}

void sim_head::spawn_learning() {
  using namespace actors;
  const auto& l = o_.learns;
  const coordinator::round_terms terms{
      .steps = l.steps, .deadline_ms = l.deadline_ms, .quorum = l.quorum};
  coordinator = proc->spawn(
      coordinator_behavior,
      coordinator_deps{.adapters = {{"assistant", {.terms = terms, .replicas = o_.replicas}, true}},
                       .jobs = std::move(*store::open_job_store(o_.folder / "jobs.db")),
                       .unix_time = [] { return std::int64_t{1700000000}; },
                       .telemetry = telemetry,
                       .counts = board->make("coordinator", "")});
  disk_ = std::make_unique<testing_support::powered_disk>(*power);
  journal = std::make_shared<lying_journal>(
      in_, std::make_unique<testing_support::powered_journal>(
               std::move(*store::open_round_journal(o_.folder / "rounds.db")), *power));
  aggregator_deps deps;
  deps.adapter = "assistant";
  deps.shape = learned_shape();
  deps.how = l.how;
  deps.gate.looks = {8, 16};
  deps.canary = l.canary;
  deps.deadline_ms = l.deadline_ms;
  deps.quorum = l.quorum;
  deps.base_digest = "base";
  deps.factors_of = [](const msg<schema::VersionRecord>& r) -> result<std::vector<float>> {
    const std::string digest = r.read()->getDigest().cStr();
    // As modelled executors say of it: no site could have it from the head.
    if (digest == "unfit") return error{errc::bad_request, "made for a model of another shape"};
    return factors_named(digest);
  };
  deps.version_digest = [this](const std::vector<float>& f) -> result<std::string> {
    auto other = f;
    if (in_.breaks(sabotage::other_sum)) other[0] += 1;
    return digest_of_factors(other);
  };
  deps.journal = journal;
  deps.blobs = std::move(*store::blob_store::open(o_.folder / "blobs", 1 << 20, *disk_));
  deps.registry = registry;
  deps.coordinator = coordinator;
  deps.telemetry = telemetry;
  deps.counts = board->make("aggregator", "assistant");
  aggregator = proc->spawn(aggregator_behavior, std::move(deps));
}

void sim_head::spawn_supervisor() {
  using namespace actors;
  supervisor = proc->spawn(
      supervisor_behavior,
      supervisor_deps{
          .cluster = "demo",
          .product_version = "0",
          .base_name = "tiny",
          .base_digest = "base",
          .precision = "int8",
          .nodes = o_.nodes,
          .inactive = {},
          .launch = o_.launch,
          .kill = o_.kill,
          .telemetry = telemetry,
          .registry = registry,
          .ingress = ingress,
          .traffic = aggregator ? std::vector<traffic_actor>{traffic_actor(aggregator)}
                                : std::vector<traffic_actor>{},
          .on_serving = [](std::uint32_t, std::uint32_t) {},
          .counts = board->make("supervisor", ""),
          .unix_time = [this] { return 1700000000 + std::int64_t(in_.now_ms() / 1000); }});
}

void sim_head::die(const std::string& why) {
  in_.note("the head dies: " + why);
  in_.kill(*proc);
  gateway->lose();
  versions.reset();
  journal.reset();
}

void sim_head::child_ended(const std::string& node, std::int32_t pid, std::int32_t status) {
  if (proc->alive) caf::anon_send(supervisor, actors::child_exit{node, pid, status});
}

}  // namespace collm::simulation
