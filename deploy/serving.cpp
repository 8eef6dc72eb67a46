#include "deploy/serving.hpp"

#include <spdlog/spdlog.h>

#include <chrono>
#include <random>

#include "actors/engine.hpp"
#include "actors/node.hpp"
#include "actors/replica.hpp"
#include "actors/router.hpp"
#include "actors/telemetry.hpp"
#include "engine/adapter/adapter.hpp"
#include "engine/model/gguf.hpp"
#include "engine/sha256.hpp"

namespace collm::deploy {

namespace {

using namespace actors;
constexpr std::uint32_t step_tokens_max = 512;
constexpr std::uint64_t initial_seed = 42;  // every node must make the same initial factors
constexpr auto silent_is_dead = std::chrono::seconds(10);

std::string digest_of(const text::vocabulary& v) {
  engine::sha256 hash;
  for (const auto& t : v.tokens) hash.add_text(t);
  for (const auto& m : v.merges) hash.add_text(m);
  hash.add_text(v.pre_tokenizer);
  return engine::to_hex(hash.finish());
}

result<engine_actor> make_engine(caf::actor_system& system, const engine::base_ptr& base,
                                 engine::executor_options options, engine_deps deps,
                                 const replica_actor& owner) {
  auto executor = engine::make_executor(base, options);
  if (!executor) return executor.failure();
  deps.steps = std::move(*executor);
  return engine_actor(system.spawn<caf::detached>(engine_behavior, std::move(deps), owner));
}

result<std::vector<initial_version>> initial_versions(const spawn_plan& plan,
                                                      const engine::base& base) {
  std::vector<initial_version> out;
  for (const auto& a : plan.adapters) {
    auto weights = a.path.empty()
                       ? engine::initial_adapter(base, a.rank, a.alpha, a.targets, initial_seed)
                       : engine::load_peft(base, a.path);
    if (!weights)
      return error{weights.failure().code,
                   "adapter '" + a.name + "': " + weights.failure().message};
    const auto source = a.path.empty()
                            ? std::string("initial")
                            : "peft:" + std::filesystem::path(a.path).filename().string();
    out.push_back({a.name, *weights, source});
  }
  return out;
}

std::vector<actors::ledger_row> ledger_rows(const spawn_plan& plan) {
  std::vector<actors::ledger_row> out;
  for (const auto& row : plan.ledger)
    out.push_back({row.name, static_cast<double>(row.bytes), row.shared});
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

std::vector<gateway::tenant> gateway_tenants(const spawn_plan& plan, const std::string& site) {
  std::vector<gateway::tenant> out;
  for (const auto& t : plan.tenants) {
    if (t.site.empty() || t.site == site)
      out.push_back({t.name, t.key_sha256, t.site, t.interactive, t.requests_per_s});
  }
  return out;
}

}  // namespace

void log_event(const msg<schema::Event>& event) {
  const auto e = event.read();
  const auto level = e->getLevel() == schema::EventLevel::INFO      ? spdlog::level::info
                     : e->getLevel() == schema::EventLevel::WARNING ? spdlog::level::warn
                                                                    : spdlog::level::err;
  spdlog::log(level, "{} {}: {}", e->getNode().cStr(), e->getKind().cStr(), e->getMessage().cStr());
}

result<opened_model> open_model(const spawn_plan& plan, const std::filesystem::path& cache_dir,
                                bool with_engine) {
  opened_model out;
  text::vocabulary vocabulary;
  if (with_engine) {
    auto base = engine::open_base(plan.model.file, plan.model.precision, cache_dir);
    if (!base) return base.failure();
    out.base = *base;
    out.base_digest = out.base->digest();
    vocabulary = out.base->vocabulary();
  } else {
    auto file = engine::gguf_file::open(plan.model.file);
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

struct serving_node::impl {
  std::string name;
  meter_board_ptr board = std::make_shared<meter_board>();
  std::shared_ptr<std::atomic<bool>> draining = std::make_shared<std::atomic<bool>>(false);
  std::vector<heartbeat> beats;
  std::vector<replica_actor> replicas;
  node_router_actor router;
  node_actor node;
  telemetry_actor telemetry;
  std::shared_ptr<actor_port> port;
  std::unique_ptr<gateway::http_server> http;
  std::unique_ptr<link::native_server> native;
  std::string http_address;

  std::string fault() const {
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    for (const auto& beat : beats) {
      const auto age = std::chrono::nanoseconds(now - beat->load());
      if (age > silent_is_dead / 2) {
        return "the engine's loop made no turn for " +
               std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(age).count()) +
               " ms";
      }
    }
    return "";
  }
};

serving_node::serving_node(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
serving_node::~serving_node() { stop(); }
router_actor serving_node::router() const { return impl_->router; }
node_actor serving_node::node() const { return impl_->node; }
telemetry_actor serving_node::telemetry() const { return impl_->telemetry; }
std::string serving_node::http_address() const { return impl_->http_address; }
std::uint32_t serving_node::requests_in_flight() const { return impl_->port->in_flight()->load(); }

void serving_node::drain() {
  impl_->draining->store(true);
  caf::anon_send(impl_->router, drain_atom::value);
}
bool serving_node::drained() const { return impl_->draining->load() && requests_in_flight() == 0; }

result<std::unique_ptr<serving_node>> serving_node::start(caf::actor_system& system,
                                                          link::loop& loop, const spawn_plan& plan,
                                                          const node_plan& node,
                                                          const opened_model& model, outside to) {
  auto initial = initial_versions(plan, *model.base);
  if (!initial) return initial.failure();
  auto state = std::make_unique<impl>();
  auto& s = *state;
  s.name = node.name;
  std::map<std::string, heartbeat> beats;
  for (std::uint32_t i = 0; i < node.replicas; ++i) {
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    s.beats.push_back(std::make_shared<std::atomic<std::int64_t>>(now));
    beats[node.name + "/" + std::to_string(i)] = s.beats.back();
  }
  // The port is made last but telemetry counts through it: both sides hold the counter.
  auto in_flight = std::make_shared<std::shared_ptr<std::atomic<std::uint32_t>>>(
      std::make_shared<std::atomic<std::uint32_t>>(0));
  const auto count = [in_flight] { return (*in_flight)->load(); };

  s.telemetry = system.spawn(telemetry_behavior,
                             telemetry_deps{.node = node.name,
                                            .site = node.site,
                                            .model = plan.model.name,
                                            .kernel_path = engine::kernel_path(),
                                            .http_address = to_string(node.http),
                                            .board = s.board,
                                            .ledger = ledger_rows(plan),
                                            .beats = beats,
                                            .ttft_slo_ms = double(plan.slo.ttft_ms),
                                            .tpot_slo_ms = double(plan.slo.tpot_ms),
                                            .requests_in_flight = count,
                                            .draining = [d = s.draining] { return d->load(); },
                                            .on_event = to.on_event,
                                            .counts = s.board->make("telemetry", "")});
  s.router = system.spawn(router_behavior,
                          router_deps{node.name, plan.model.name, s.board->make("router", "")});
  for (std::uint32_t i = 0; i < node.replicas; ++i) {
    const auto name = node.name + "/" + std::to_string(i);
    const engine::executor_options options{.kv_bytes = node.kv_bytes,
                                           .threads = node.threads,
                                           .step_tokens_max = step_tokens_max,
                                           .sequences_max = plan.bounds.running_requests_max};
    engine_deps engine{.name = name,
                       .steps = nullptr,
                       .promises = {double(plan.slo.ttft_ms), double(plan.slo.tpot_ms)},
                       .step_tokens_max = step_tokens_max,
                       .counts = s.board->make("engine", name),
                       .beat = s.beats[i]};
    replica_deps deps{.name = name,
                      .queued_max = plan.bounds.queued_requests_max,
                      .running_max = plan.bounds.running_requests_max,
                      .ttft_ms = double(plan.slo.ttft_ms),
                      .counts = s.board->make("replica", name),
                      .routers = {router_actor(s.router)},
                      .telemetry = s.telemetry};
    s.replicas.push_back(
        system.spawn(replica_behavior, std::move(deps),
                     [&system, base = model.base, options, engine](const replica_actor& owner) {
                       return make_engine(system, base, options, engine, owner);
                     }));
    caf::anon_send(s.router, add_replica{name, s.replicas.back()});
  }

  port_deps port{.base_name = plan.model.name,
                 .base_root = plan.model.file.filename().string(),
                 .router = s.router,
                 .telemetry = s.telemetry,
                 .bridges = s.board->make("bridge", ""),
                 .node = {},
                 .supervisor = {},
                 .describe = [plan, digest = model.base_digest](
                                 const auto& own) { return describe_node(plan, digest, own); },
                 .fault = [raw = state.get()] { return raw->fault(); },
                 .ready = [d = s.draining] { return !d->load(); },
                 .request_stop = to.request_stop,
                 .bounds = plan.bounds};
  node_deps deps{
      .node = node.name,
      .base_digest = model.base_digest,
      .read_adapter = [base = model.base](
                          const std::string& folder) { return engine::load_peft(*base, folder); },
      .replicas = s.replicas,
      .router = s.router,
      .registry = to.registry,
      .telemetry = s.telemetry,
      .beats = s.beats,
      .wedged_after = silent_is_dead,
      .wedged = to.wedged,
      .requests_in_flight = count,
      .on_drain = [d = s.draining] { d->store(true); },
      .counts = s.board->make("node", "")};
  s.node = system.spawn<caf::detached>(node_behavior, std::move(deps), std::move(*initial));
  port.node = s.node;
  const auto seed = (static_cast<std::uint64_t>(std::random_device{}()) << 32) | 1;
  s.port = std::make_shared<actor_port>(system, std::move(port), seed);
  *in_flight = s.port->in_flight();

  gateway::http_options http;
  http.address = node.http.host;
  http.port = node.http.port;
  http.bounds = plan.bounds;
  http.tenants = gateway_tenants(plan, node.site);
  auto server = gateway::http_server::start(std::move(http), *s.port, *model.encoder);
  if (!server) return server.failure();
  s.http = std::move(*server);
  s.http_address = node.http.host + ":" + std::to_string(s.http->port());
  if (node.capnp) {
    link::native_options native;
    native.listen = to_string(*node.capnp);
    native.encode = [encoder = *model.encoder](const auto& in, auto max, auto fallback) {
      return encoder.encode(in, max, fallback);
    };
    native.bounds = plan.bounds;
    auto started = link::native_server::start(loop, std::move(native), s.port);
    if (!started) return started.failure();
    s.native = std::move(*started);
  }
  return std::unique_ptr<serving_node>(new serving_node(std::move(state)));
}

void serving_node::stop() {
  auto& s = *impl_;
  if (s.http) s.http->stop();
  s.http.reset();
  s.native.reset();
  if (s.port) s.port->close();
  const auto end = [](const auto& actor) {
    if (actor)
      caf::anon_send_exit(caf::actor_cast<caf::actor>(actor), caf::exit_reason::user_shutdown);
  };
  end(s.node);
  end(s.router);
  for (const auto& r : s.replicas) end(r);
  end(s.telemetry);
  s.node = nullptr;
  s.router = nullptr;
  s.replicas.clear();
  s.telemetry = nullptr;
}

}  // namespace collm::deploy
