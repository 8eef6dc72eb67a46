#include "deploy/serving.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "actors/engine.hpp"
#include "actors/node.hpp"
#include "actors/replica.hpp"
#include "actors/router.hpp"
#include "actors/telemetry.hpp"
#include "deploy/actor_system.hpp"
#include "deploy/adapter_row.hpp"
#include "deploy/audit_log.hpp"
#include "deploy/initial_versions.hpp"
#include "deploy/node_training.hpp"
#include "deploy/stop_times.hpp"
#include "engine/adapter/adapter.hpp"
#include "engine/model/model_source.hpp"
#include "engine/sha256.hpp"
#include "messages/shown_text.hpp"

namespace collm::deploy {

namespace {

using namespace actors;
constexpr std::uint32_t step_tokens_max = 512;
constexpr std::size_t logged_max = 4096;  // bytes of one text
// Adapters of the manifest are loaded within milliseconds; one that cannot be keeps nobody waiting.
constexpr auto named_at_most = std::chrono::seconds(5);
// A loop silent for so long is not healthy; from limits::engine_silence_ms_max on it is given up.
constexpr auto silent_is_unhealthy = std::chrono::seconds(5);

std::string digest_of(const text::vocabulary& v) {
  engine::sha256 hash;
  for (const auto& t : v.tokens) hash.add_text(t);
  for (const auto& m : v.merges) hash.add_text(m);
  hash.add(v.scores.data(), v.scores.size() * sizeof(float));
  hash.add(v.types.data(), v.types.size() * sizeof(text::token_type));
  for (const auto& kind : {v.model, v.pre_tokenizer}) hash.add_text(kind);
  for (const auto id : {v.bos, v.eos, std::int32_t{v.add_bos}, std::int32_t{v.add_space_prefix}})
    hash.add_text(std::to_string(id));
  return engine::to_hex(hash.finish());
}

result<engine_actor> make_engine(caf::actor_system& system, const engine::base_ptr& base,
                                 engine::executor_options options, engine_deps deps,
                                 const replica_actor& owner) {
  try {
    auto executor = engine::make_executor(base, options);
    if (!executor) return executor.failure();
    deps.steps = std::move(*executor);
    // CAF counts an actor whose thread cannot be had among those that run, and waits for it at the
    // end; whether one can be had shows here, and its stack is kept for the next.
    std::thread([] {}).join();
    return engine_actor(system.spawn<caf::detached>(engine_behavior, std::move(deps), owner));
  } catch (const std::exception& e) {  // no memory, no thread
    return error{errc::unavailable, std::string("no engine can be made: ") + e.what(), 0};
  }
}

/// This node's share of the cluster's ledger: the base is one copy a machine, the KV cache its own,
/// the rest alike in every node.
std::vector<actors::ledger_row> ledger_rows(const spawn_plan& plan, const node_plan& node) {
  std::vector<actors::ledger_row> out;
  for (const auto& row : plan.ledger) {
    double budget = static_cast<double>(row.bytes);
    if (row.name == "kv") {
      budget = static_cast<double>(node.kv_bytes * node.replicas);
    } else if (!row.shared) {
      budget /= static_cast<double>(plan.nodes_here());
    }
    out.push_back({row.name, budget, row.shared});
  }
  return out;
}

msg<schema::ClusterStatus> describe_node(const spawn_plan& plan, const std::string& digest,
                                         const msg<schema::Snapshot>& own) {
  return msg<schema::ClusterStatus>::build([&](schema::ClusterStatus::Builder b) {
    b.setCluster(plan.cluster);
    b.setUptimeMs(own.read()->getUptimeMs());
    b.setVersion(COLLM_VERSION);
    b.setBaseName(plan.model.name);
    b.setBaseDigest(digest);
    b.setPrecision(plan.model.precision == engine::precision::int8 ? "int8" : "f32");
    b.setHead(*own.read());
    b.setSloTtftMs(plan.slo.ttft_ms);
    b.setSloTpotMs(plan.slo.tpot_ms);
  });
}

/// The first engine whose loop is silent; empty: none.
std::string fault_of(const std::map<std::string, heartbeat>& beats) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  for (const auto& [name, beat] : beats) {
    const auto age = std::chrono::nanoseconds(now - beat->load());
    if (age > silent_is_unhealthy) {
      const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(age).count();
      return "the loop of engine " + name + " made no turn for " + std::to_string(ms) + " ms";
    }
  }
  return "";
}

/// What others say, as a part of one line of the log.
std::string line_of(std::string_view text) { return on_one_line(beginning(text, logged_max)); }

}  // namespace

void log_event(const msg<schema::Event>& event) {
  const auto e = event.read();
  const auto level = e->getLevel() == schema::EventLevel::INFO      ? spdlog::level::info
                     : e->getLevel() == schema::EventLevel::WARNING ? spdlog::level::warn
                                                                    : spdlog::level::err;
  spdlog::log(level, "{} {}: {}", line_of(e->getNode().cStr()), line_of(e->getKind().cStr()),
              line_of(e->getMessage().cStr()));
}

void log_link(schema::EventLevel level, const std::string& text, bool stopping) {
  const auto as = level == schema::EventLevel::INFO ? spdlog::level::info
                  : stopping                        ? spdlog::level::debug
                                                    : spdlog::level::warn;
  spdlog::log(as, "{}", line_of(text));
}

result<gateway::http_options> gateway_options(const spawn_plan& plan, const std::string& name,
                                              const address& at, const std::optional<tls_spec>& tls,
                                              const std::optional<std::string>& site) {
  auto audit = audit_log::open(plan.head.state_dir / "audit", name);
  if (!audit) return audit.failure();
  gateway::http_options out;
  out.name = name;
  out.audit = std::move(*audit);
  out.address = at.host;
  out.port = at.port;
  out.bounds = plan.bounds;
  out.version = COLLM_VERSION;
  if (tls) out.tls = gateway::tls_files{tls->certificate, tls->key};
  for (const auto& t : plan.tenants) {
    if (!site || t.site.empty() || t.site == *site)
      out.tenants.push_back(
          {t.name, t.key_sha256, t.site, t.interactive, t.requests_per_s, t.tokens_per_s});
  }
  out.keys_required = !plan.tenants.empty();
  out.admin_key_sha256 = plan.admin_key_sha256;
  return out;
}

result<std::unique_ptr<link::native_server>> open_native(link::loop& loop, const spawn_plan& plan,
                                                         const std::optional<address>& at,
                                                         const opened_model& model,
                                                         std::shared_ptr<gateway::port> port) {
  if (!at) return std::unique_ptr<link::native_server>();
  link::native_options options;
  options.listen = to_string(*at);
  options.encode = [encoder = *model.encoder](const auto& in, auto max, auto fallback) {
    return encoder.encode(in, max, fallback);
  };
  options.bounds = plan.bounds;
  return link::native_server::start(loop, std::move(options), std::move(port));
}

result<opened_model> open_model(const spawn_plan& plan, const std::filesystem::path& cache_dir,
                                bool with_engine, const std::function<bool()>& over) {
  opened_model out;
  text::vocabulary vocabulary;
  if (with_engine) {
    auto base = engine::open_base(plan.model.file, plan.model.precision, cache_dir, over);
    if (!base) return base.failure();
    out.base = *base;
    out.base_digest = out.base->digest();
    vocabulary = out.base->vocabulary();
  } else {
    auto file = engine::model_source::open(plan.model.file);
    if (!file) return file.failure();
    auto words = (*file)->vocabulary();
    if (!words) return words.failure();
    vocabulary = std::move(*words);
    out.base_digest = (*file)->sha256();
  }
  out.tokenizer_digest = digest_of(vocabulary);
  auto chat = text::chat_template::recognise(vocabulary.chat_template);
  if (!chat) return chat.failure();
  auto tokens = text::tokenizer::make(std::move(vocabulary));
  if (!tokens) return tokens.failure();
  out.encoder = gateway::prompt_encoder{*tokens, *chat, plan.model.shape.context, plan.model.name,
                                        plan.bounds};
  return out;
}

/// Made member by member in the order of start(); plan, node and outside are copies, for what
/// outlives start().
struct serving_node::impl {
  caf::actor_system& system;
  link::loop& loop;
  const spawn_plan plan;
  const node_plan node_plan_;
  const opened_model model;
  const outside to;
  meter_board_ptr board = std::make_shared<meter_board>();
  std::shared_ptr<std::atomic<bool>> draining = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<std::atomic<bool>> drained = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<std::atomic<std::uint32_t>> in_flight =
      std::make_shared<std::atomic<std::uint32_t>>(0);
  std::map<std::string, heartbeat> beats;  ///< by replica
  std::vector<replica_actor> replicas;
  node_router_actor router;
  local_node_actor node;
  telemetry_actor telemetry;
  std::unique_ptr<node_training> training;  ///< null: nothing learns here
  std::shared_ptr<actor_port> port;
  std::unique_ptr<gateway::http_server> http;
  std::unique_ptr<link::native_server> native;
  std::string http_address;

  result<void> start() {
    auto initial = initial_versions(plan, model.base);
    if (!initial) return initial.failure();
    start_telemetry();
    start_router();
    for (const auto& [name, beat] : beats) start_replica(name, beat);
    std::set<std::string> names;
    for (const auto& v : *initial) names.insert(v.name);
    start_node(std::move(*initial));
    if (auto learns = start_training(); !learns) return learns;
    start_port();
    // Whoever is first at the gateway, or waited for it, finds the adapters that the manifest
    // names.
    wait_until(named_at_most, [&] { return std::ranges::includes(named(), names); });
    if (auto opened = open_http(); !opened) return opened;
    auto opened = open_native(loop, plan, node_plan_.capnp, model, port);
    if (!opened) return opened.failure();
    native = std::move(*opened);
    return {};
  }

  /// Adapters that a request may name by now.
  std::set<std::string> named() const {
    std::set<std::string> out;
    caf::scoped_actor self(system);
    self->request(router, std::chrono::seconds(1), list_atom::value)
        .receive(
            [&](const msg<schema::VersionList>& versions) {
              const auto all = versions.read();
              for (const auto v : all->getVersions())
                if (v.getState() == schema::VersionState::SERVING) out.insert(v.getAdapter());
            },
            [](const caf::error&) {});  // asked again until the wait is over
    return out;
  }

  void start_telemetry() {
    for (std::uint32_t i = 0; i < node_plan_.replicas; ++i) {
      const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
      beats[replica_name(node_plan_.name, i)] = std::make_shared<std::atomic<std::int64_t>>(now);
    }
    telemetry =
        system.spawn(telemetry_behavior,
                     telemetry_deps{.node = node_plan_.name,
                                    .site = node_plan_.site,
                                    .model = plan.model.name,
                                    .kernel_path = engine::kernel_path(),
                                    .http_address = shown_address(node_plan_.http, node_plan_.tls),
                                    .board = board,
                                    .ledger = ledger_rows(plan, node_plan_),
                                    .beats = beats,
                                    .ttft_slo_ms = double(plan.slo.ttft_ms),
                                    .tpot_slo_ms = double(plan.slo.tpot_ms),
                                    .requests_in_flight = counter(),
                                    .draining = [d = draining] { return d->load(); },
                                    .on_event = to.on_event,
                                    .counts = board->make("telemetry", "")});
  }

  void start_router() {
    router_deps deps{node_plan_.name, plan.model.name, board->make("router", "")};
    for (const auto& f : plan.federation)
      if (f.canary) deps.canary_shares[f.adapter] = f.canary_share;
    router = system.spawn(router_behavior, std::move(deps));
  }

  void start_replica(const std::string& name, const heartbeat& beat) {
    const engine::executor_options options{.kv_bytes = node_plan_.kv_bytes,
                                           .threads = node_plan_.threads,
                                           .step_tokens_max = step_tokens_max,
                                           .sequences_max = plan.bounds.running_requests_max};
    engine_deps engine{.name = name,
                       .steps = nullptr,
                       .promises = {double(plan.slo.ttft_ms), double(plan.slo.tpot_ms)},
                       .step_tokens_max = step_tokens_max,
                       .unit_max_ms = double(plan.training.max_unit_ms),
                       .counts = board->make("engine", name),
                       .beat = beat};
    replica_deps deps{.name = name,
                      .queued_max = plan.bounds.queued_requests_max,
                      .running_max = plan.bounds.running_requests_max,
                      .promises = {double(plan.slo.ttft_ms), double(plan.slo.tpot_ms)},
                      .counts = board->make("replica", name),
                      .routers = {router_actor(router)},
                      .telemetry = telemetry};
    replicas.push_back(system.spawn(
        replica_behavior, std::move(deps),
        [&sys = system, base = model.base, options, engine](const replica_actor& owner) {
          return make_engine(sys, base, options, engine, owner);
        }));
    caf::anon_send(router, add_replica{name, replicas.back(), plan.trainers.contains(name)});
  }

  /// A version of one of the manifest's adapters with other numbers.
  static std::function<result<engine::adapter_ptr>(const std::string&, const std::vector<float>&)>
  factors_maker(const std::vector<initial_version>& initial) {
    std::map<std::string, engine::adapter_ptr> like;
    for (const auto& v : initial) like[v.name] = v.weights;
    return [like](const std::string& adapter,
                  const std::vector<float>& factors) -> result<engine::adapter_ptr> {
      const auto at = like.find(adapter);
      if (at == like.end())
        return error{errc::not_found, "this node's manifest has no adapter '" + adapter + "'"};
      return adapter_of_row(*at->second, factors);
    };
  }

  void start_node(std::vector<initial_version> initial) {
    node_deps deps{
        .node = node_plan_.name,
        .base_name = plan.model.name,
        .base_digest = model.base_digest,
        .read_adapter = [base = model.base](
                            const std::string& folder) { return engine::load_peft(*base, folder); },
        .replicas = replicas,
        .router = router,
        .registry = to.registry,
        .aggregator = to.aggregator,
        .with_factors = factors_maker(initial),
        .factors = row_of,
        .served = std::make_shared<store::served_versions>(site_folder(plan, node_plan_) / "served",
                                                           model.base_digest),
        .telemetry = telemetry,
        .beats = {},
        .wedged_after = std::chrono::milliseconds(plan.bounds.engine_silence_ms_max),
        .wedged = to.wedged,
        .requests_in_flight = [own = counter(), of_head = to.of_head] { return own() + of_head(); },
        .on_drain = [d = draining] { d->store(true); },
        .on_drained = [d = drained] { d->store(true); },
        .counts = board->make("node", "")};
    for (const auto& [name, beat] : beats) deps.beats.push_back(beat);
    node = system.spawn<caf::detached>(node_behavior, std::move(deps), std::move(initial));
  }

  result<void> start_training() {
    if (!plan.learns() || !to.aggregator) return {};
    training_neighbours with{.replicas = {},
                             .router = router_actor(router),
                             .node = node,
                             .telemetry = telemetry,
                             .aggregator = to.aggregator,
                             .board = board,
                             .on_event = to.on_event};
    std::size_t i = 0;
    for (const auto& [name, beat] : beats) with.replicas.emplace_back(name, replicas[i++]);
    auto started = node_training::start(system, plan, node_plan_, model, with);
    if (!started) return started.failure();
    training = std::move(*started);
    return {};
  }

  void start_port() {
    port_deps deps{
        .base_name = plan.model.name,
        .base_root = plan.model.file.filename().string(),
        .router = router,
        .telemetry = telemetry,
        .bridges = board->make("bridge", ""),
        .node = node,
        .supervisor = {},
        .describe =
            [plan = plan, digest = model.base_digest](const msg<schema::Snapshot>& own) {
              return describe_node(plan, digest, own);
            },
        .fault = [beats = beats] { return fault_of(beats); },
        .ready = [d = draining, beats = beats] { return !d->load() && fault_of(beats).empty(); },
        .request_stop = to.request_stop,
        .in_flight = in_flight,
        .bounds = plan.bounds};
    deps.site = node_plan_.site;
    if (!plan.serves(node_plan_)) deps.answers_nobody = only_trains(node_plan_.name);
    if (training) {
      deps.site_data = training->data();
      deps.files_index = site_folder(plan, node_plan_) / "files.json";
      deps.coordinator = to.coordinator;
    }
    // Ids of two gateways of one cluster must not meet at a replica.
    const auto seed = (static_cast<std::uint64_t>(std::random_device{}()) << 32) | 1;
    port = std::make_shared<actor_port>(system, std::move(deps), seed);
  }

  result<void> open_http() {
    auto options =
        gateway_options(plan, node_plan_.name, node_plan_.http, node_plan_.tls, node_plan_.site);
    if (!options) return options.failure();
    options->listener = to.listener;
    auto server = gateway::http_server::start(std::move(*options), *port, *model.encoder);
    if (!server) return server.failure();
    http = std::move(*server);
    http_address = shown_address({node_plan_.http.host, http->port()}, node_plan_.tls);
    return {};
  }

  std::function<std::uint32_t()> counter() const {
    return [n = in_flight] { return n->load(); };
  }
};

serving_node::serving_node(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
serving_node::~serving_node() { stop(); }
router_actor serving_node::router() const { return impl_->router; }
node_actor serving_node::node() const { return impl_->node; }
telemetry_actor serving_node::telemetry() const { return impl_->telemetry; }
std::string serving_node::http_address() const { return impl_->http_address; }

void serving_node::drain(std::chrono::milliseconds deadline) {
  impl_->draining->store(true);
  caf::anon_send(impl_->router, drain_atom::value);  // the node actor may be reading a folder
  caf::anon_send(impl_->node, drain_atom::value, static_cast<std::uint32_t>(deadline.count()));
}
bool serving_node::drained() const { return impl_->drained->load(); }

result<std::unique_ptr<serving_node>> serving_node::start(caf::actor_system& system,
                                                          link::loop& loop, const spawn_plan& plan,
                                                          const node_plan& node,
                                                          const opened_model& model, outside to) {
  std::unique_ptr<serving_node> made(
      new serving_node(std::unique_ptr<impl>(new impl{.system = system,
                                                      .loop = loop,
                                                      .plan = plan,
                                                      .node_plan_ = node,
                                                      .model = model,
                                                      .to = std::move(to),
                                                      .beats = {},
                                                      .replicas = {},
                                                      .router = {},
                                                      .node = {},
                                                      .telemetry = {},
                                                      .training = {},
                                                      .port = {},
                                                      .http = {},
                                                      .native = {},
                                                      .http_address = {}})));
  if (auto started = made->impl_->start(); !started) return started.failure();
  return made;
}

void serving_node::stop() {
  auto& s = *impl_;
  if (s.http) s.http->stop();
  s.http.reset();
  if (s.native) s.native->settle(read_at_most);
  s.native.reset();
  if (s.port) s.port->close();
  s.training.reset();
  end_actor(s.node);
  end_actor(s.router);
  for (const auto& r : s.replicas) end_actor(r);
  end_actor(s.telemetry);
  s.node = nullptr;
  s.router = nullptr;
  s.replicas.clear();
  s.telemetry = nullptr;
}

}  // namespace collm::deploy
