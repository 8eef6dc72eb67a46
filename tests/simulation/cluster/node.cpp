#include "tests/simulation/cluster/node.hpp"

#include <filesystem>

#include "messages/assert.hpp"
#include "tests/support/modelled_telemetry.hpp"

namespace collm::simulation {

namespace {

/// A PEFT folder holds the factors of its name; "bad" ones are refused when they are read.
result<engine::adapter_ptr> folder_at(const std::string& folder) {
  const auto name = std::filesystem::path(folder).filename().string();
  if (name == "bad") return error{errc::bad_request, "tensor q of layer 0: expected [8, 4]"};
  return adapter_with(name);
}

constexpr std::uint32_t rows = 60, batch_tokens = 64;
constexpr store::split_shares shares = {0.5, 0.3, 0.1, 0.05, 0.05};

/// The site's examples; an import that comes again adds nothing.
std::shared_ptr<store::site_data> examples(const std::filesystem::path& folder,
                                           const std::string& node) {
  std::filesystem::create_directories(folder);
  std::shared_ptr<store::site_data> data =
      std::move(*store::site_data::open(folder / "data.db", shares));
  std::string text;
  for (std::uint32_t i = 0; i < rows; ++i)
    text += "{\"prompt\": \"question " + std::to_string(i) + " at " + node +
            "\", \"completion\": \"answer\"}\n";
  COLLM_ASSERT(data->import_text("rows", text));
  return data;
}

result<engine::training_sample> encoded(const store::site_row& row) {
  engine::training_sample s;
  s.tokens.assign(row.prompt.begin(), row.prompt.end());
  return s;
}

}  // namespace

sim_node::sim_node(world& in, node_facts f, const learning_facts& learns,
                   std::filesystem::path folder, node_link::options link)
    : facts(std::move(f)),
      pid(link.pid),
      proc(in.start(facts.name)),
      in_(in),
      learns_(learns),
      folder_(std::move(folder)) {
  const auto head = spawn_stand_ins(*proc, way);
  spawn_telemetry();
  actors::router_deps routing{facts.name, "tiny", meter("router"), {}};
  if (learns_.canary) routing.canary_shares["assistant"] = learns_.canary->share;
  router = proc->spawn(actors::router_behavior, std::move(routing));
  replicas.resize(facts.replicas);
  for (std::size_t i = 0; i < replicas.size(); ++i) spawn_replica(i);
  spawn_node(head);
  if (learns_.on) spawn_learning(head);
  courier_ = spawn_courier(*proc);
  gateway = std::make_unique<sim_gateway>(
      in_, proc,
      gateway_ends{actors::router_actor(router), telemetry, meter("bridge"), facts.name, {}});
  link_ = std::make_unique<node_link>(
      in_,
      node_ends{proc, courier_, actors::router_actor(router), actors::node_actor(node), telemetry},
      way, std::move(link));
}

void sim_node::spawn_telemetry() {
  auto told = testing_support::modelled_telemetry(
      facts.name, facts.site, std::make_shared<actors::meter_board>(), meter("telemetry"));
  told.requests_in_flight = [this] { return gateway->in_flight(); };
  told.draining = [this] { return draining_; };
  told.on_event = [this](const auto& e) { in_.hear(*e.read()); };
  telemetry = proc->spawn(actors::telemetry_behavior, std::move(told));
}

void sim_node::spawn_replica(std::size_t number) {
  using namespace actors;
  auto& r = replicas[number];
  r.name = facts.name + "/" + std::to_string(number);
  const auto make_engine = [this, number](const replica_actor& owner) -> result<engine_actor> {
    auto& mine = replicas[number];
    mine.steps = std::make_shared<testing_support::modelled_executor>(facts.kv_blocks);
    mine.engine =
        engine_actor(proc->spawn(engine_behavior,
                                 engine_deps{.name = mine.name,
                                             .steps = mine.steps,
                                             .promises = {},
                                             .counts = meter("engine", mine.name),
                                             .beat = std::make_shared<std::atomic<std::int64_t>>(0),
                                             .modelled_turn = facts.turn},
                                 owner));
    return mine.engine;
  };
  replica_deps deps{.name = r.name,
                    .queued_max = facts.queued_max,
                    .running_max = facts.running_max,
                    .promises = {},
                    .counts = meter("replica", r.name),
                    .routers = {router_actor(router)},
                    .telemetry = telemetry};
  if (in_.lies(sabotage::long_queue)) deps.queued_max *= 10, deps.running_max *= 10;
  r.desk = proc->spawn(replica_behavior, std::move(deps), make_engine);
  caf::anon_send(router, add_replica{r.name, r.desk, false});
}

void sim_node::spawn_node(const stand_ins& head) {
  using namespace actors;
  node_deps deps{
      .node = facts.name,
      .base_name = "tiny",
      .base_digest = "base",
      .read_adapter = folder_at,
      .replicas = {},
      .router = router,
      .registry = head.registry,
      .aggregator = head.aggregator,
      .with_factors = [](const std::string&,
                         const std::vector<float>& factors) -> result<engine::adapter_ptr> {
        return adapter_with(digest_of_factors(factors), factors);
      },
      .factors = [](const engine::adapter& a) { return a.layers.at(0)[0].a; },
      .served = std::make_shared<store::served_versions>(folder_ / "served", "base"),
      .telemetry = telemetry,
      .beats = {},
      .wedged = [](const std::string&) {},
      .requests_in_flight = [this] { return gateway->in_flight(); },
      .on_drain = [this] { draining_ = true; },
      .counts = meter("node")};
  for (const auto& r : replicas) deps.replicas.push_back(r.desk);
  const auto initial = [] { return result<engine::adapter_ptr>(adapter_with("initial")); };
  node = proc->spawn(
      node_behavior, std::move(deps),
      std::vector<initial_version>{{"assistant", adapter_with("initial"), "initial", "", initial}});
}

void sim_node::spawn_learning(const stand_ins& head) {
  using namespace actors;
  const auto data =
      proc->spawn(site_data_behavior, site_data_deps{.data = examples(folder_, facts.name),
                                                     .node = facts.name,
                                                     .telemetry = telemetry,
                                                     .counts = meter("site_data")});
  const auto make_trainer = [](const engine::adapter_ptr& parent) {
    return result<std::shared_ptr<engine::trainer>>(std::make_shared<seeing_trainer>(parent));
  };
  for (const auto& r : replicas) {
    shadow_deps deps{.replica = r.name,
                     .site = facts.site,
                     .adapter = "assistant",
                     .base_digest = "base",
                     .engine = r.desk,
                     .aggregator = head.aggregator,
                     .data = data,
                     .node = node,
                     .router = router,
                     .telemetry = telemetry,
                     .make_trainer = make_trainer,
                     .encode = encoded,
                     .guard = {},
                     .checkpoints = std::make_shared<store::checkpoint_store>(folder_ / "saved"),
                     .batch_tokens = batch_tokens,
                     .counts = meter("shadow", r.name)};
    proc->spawn(shadow_behavior, std::move(deps));
  }
}

void sim_node::drain() {
  const auto ends = [this](caf::event_based_actor* self) {
    self->request(node, caf::infinite, actors::drain_atom::value, std::uint32_t{30000})
        .then([this](const actors::reply<void>&) { on_exit(); },
              [this](const caf::error&) { on_exit(); });
  };
  caf::anon_send(
      courier_, errand{std::make_shared<const std::function<void(caf::event_based_actor*)>>(ends)});
}

void sim_node::die(const std::string& why) {
  in_.note(facts.name + " dies: " + why);
  in_.kill(*proc);
  gateway->lose();
  if (way->now) way->now->cut(facts.name + " was killed");
}

}  // namespace collm::simulation
