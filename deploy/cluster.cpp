#include "deploy/cluster.hpp"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "actors/registry.hpp"
#include "actors/replies.hpp"
#include "actors/site_router.hpp"
#include "actors/supervisor.hpp"
#include "actors/telemetry.hpp"
#include "dashboard/assets.hpp"
#include "deploy/actor_system.hpp"
#include "deploy/child_processes.hpp"
#include "deploy/head_training.hpp"
#include "deploy/held_ports.hpp"
#include "deploy/initial_versions.hpp"
#include "deploy/private_folder.hpp"
#include "deploy/remote_node.hpp"
#include "deploy/serving.hpp"
#include "deploy/stop_times.hpp"
#include "gateway/schema_json.hpp"
#include "store/version_store.hpp"

namespace collm::deploy {

namespace {

using namespace actors;
using namespace std::chrono_literals;

// A link's beat and how much silence means lost: a frozen node is noticed within two seconds and
// replaced within four.
constexpr auto beat = 500ms;
constexpr auto lost_after = 2000ms;

std::vector<std::string> sites_of(const spawn_plan& plan) {
  std::vector<std::string> out;
  for (const auto& n : plan.nodes) {
    if (std::find(out.begin(), out.end(), n.site) == out.end()) out.push_back(n.site);
  }
  return out;
}

/// Where children's ends are posted from their waiting threads; kept until somebody takes them.
class exit_box {
 public:
  void post(child_exit e) {
    const std::lock_guard lock(mutex_);
    if (to_) {
      caf::anon_send(to_, std::move(e));
    } else if (!closed_) {
      early_.push_back(std::move(e));
    }
  }
  void deliver_to(const head_supervisor_actor& to) {
    const std::lock_guard lock(mutex_);
    to_ = to;
    for (auto& e : early_) caf::anon_send(to_, std::move(e));
    early_.clear();
  }
  void close() {
    const std::lock_guard lock(mutex_);
    to_ = nullptr;
    closed_ = true;
  }

 private:
  std::mutex mutex_;
  head_supervisor_actor to_;
  std::vector<child_exit> early_;
  bool closed_ = false;
};

}  // namespace

/// Made in this order, destroyed by stop() in the reverse one.
struct cluster::impl {
  spawn_plan plan;
  start_options options;
  std::optional<state_lock> lock;  ///< no other head works with this state
  opened_model model;
  std::unique_ptr<caf_system> system;
  std::unique_ptr<link::loop> loop;
  meter_board_ptr board = std::make_shared<meter_board>();
  std::shared_ptr<std::atomic<bool>> stop_asked = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<std::atomic<bool>> draining = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<std::atomic<std::uint32_t>> answering =
      std::make_shared<std::atomic<std::uint32_t>>(0);  ///< nodes that requests are sent to
  std::shared_ptr<std::atomic<std::uint32_t>> own_serving =
      std::make_shared<std::atomic<std::uint32_t>>(0);  ///< of this machine
  std::shared_ptr<std::atomic<std::uint32_t>> in_flight =
      std::make_shared<std::atomic<std::uint32_t>>(0);
  std::shared_ptr<exit_box> exits = std::make_shared<exit_box>();
  std::shared_ptr<child_processes> children;  ///< the supervisor holds it, too
  std::shared_ptr<held_ports> ports = std::make_shared<held_ports>();  ///< so it does this
  telemetry_actor telemetry;
  head_registry_actor registry;
  std::unique_ptr<head_training> training;  ///< null: nothing learns
  site_router_actor ingress;
  head_supervisor_actor supervisor;
  std::unique_ptr<link::link_server> link;
  std::vector<std::unique_ptr<serving_node>> threads;  ///< nodes with placement thread
  std::shared_ptr<actor_port> port;
  std::unique_ptr<gateway::http_server> http;
  std::unique_ptr<link::native_server> native;

  result<void> start();
  result<void> start_actors();
  result<void> register_initial();
  result<void> start_link();
  result<void> start_threads();
  result<void> start_gateways();
  result<msg<schema::ClusterStatus>> status() const;
  aggregator_actor one_aggregator() const;
  supervisor_deps supervision();
  void stop(std::chrono::milliseconds running);
  void end_open_requests();
  bool quiet() const;
};

/// A damaged file of the state, with what an operator can do.
static error with_mend(error failure, const std::filesystem::path& state) {
  if (failure.code == errc::corrupt && failure.message.starts_with((state / "").string()))
    failure.message += "; move " + state.string() +
                       " away, then collm restore a backup of it, or begin without its versions";
  return failure;
}

result<void> cluster::impl::start() {
  if (auto made = keep_private(plan.head.state_dir); !made) return made.failure();
  auto alone = state_lock::take(plan.head.state_dir);
  if (!alone) return alone.failure();
  lock.emplace(std::move(*alone));
  bool engines_here = plan.learns();  // the aggregators need the base's shape and digests
  for (const auto& n : plan.nodes) engines_here |= n.where != placement::process;
  auto opened = open_model(plan, options.cache_dir, engines_here, options.over);
  if (!opened) return opened.failure();
  model = std::move(*opened);
  if (auto kept = keep_manifest(plan); !kept) return kept.failure();
  system = std::make_unique<caf_system>();
  loop = std::make_unique<link::loop>();
  using step = result<void> (impl::*)();
  for (step next :
       {&impl::start_actors, &impl::start_link, &impl::start_threads, &impl::start_gateways}) {
    if (auto done = (this->*next)(); !done)
      return with_mend(done.failure(), plan.head.state_dir);
  }
  return {};
}

supervisor_deps cluster::impl::supervision() {
  supervisor_deps deps{
      .cluster = plan.cluster,
      .product_version = COLLM_VERSION,
      .base_name = plan.model.name,
      .base_digest = model.base_digest,
      .precision = plan.model.precision == engine::precision::int8 ? "int8" : "f32",
      .nodes = {},
      .inactive = plan.inactive,
      .ttft_slo_ms = double(plan.slo.ttft_ms),
      .tpot_slo_ms = double(plan.slo.tpot_ms),
      .launch = [children = children, ports = ports, plan = plan](
                    const std::string& node, std::uint64_t incarnation) -> result<std::int32_t> {
        auto listener = ports->hold(*plan.node(node));
        if (!listener) return listener.failure();
        auto pid = children->start(node, node_arguments(plan, node, incarnation), *listener);
        if (!pid) return pid.failure();
        return std::int32_t{*pid};
      },
      .kill = [children = children](std::int32_t pid) { children->signal(pid, SIGKILL); },
      .away = [ports = ports](const std::string& node) { ports->release(node); },
      .telemetry = telemetry,
      .registry = registry,
      .ingress = ingress,
      .on_serving =
          [all = answering, own = own_serving](std::uint32_t now, std::uint32_t own_now) {
            all->store(now);
            own->store(own_now);
          },
      .counts = board->make("supervisor", ""),
      .lost_after_ms = double(lost_after.count())};
  if (training)
    for (const auto& [name, aggregator] : training->aggregators())
      deps.traffic.emplace_back(aggregator);
  for (const auto& n : plan.nodes)
    deps.nodes.push_back({n.name, n.site, n.where == placement::process, plan.serves(n),
                          n.where == placement::remote,
                          n.http.port == 0 ? "" : shown_address(n.http, n.tls)});
  return deps;
}

result<void> cluster::impl::start_actors() {
  auto versions = store::open_version_store(plan.head.state_dir / "registry.db");
  if (!versions) return versions.failure();
  auto& sys = system->get();
  telemetry = sys.spawn(telemetry_behavior,
                        telemetry_deps{.node = "head",
                                       .site = "",
                                       .model = plan.model.name,
                                       .kernel_path = engine::kernel_path(),
                                       .http_address = shown_address(plan.head.http, plan.head.tls),
                                       .board = board,
                                       .ledger = {},
                                       .beats = {},
                                       .ttft_slo_ms = double(plan.slo.ttft_ms),
                                       .tpot_slo_ms = double(plan.slo.tpot_ms),
                                       .requests_in_flight = [n = in_flight] { return n->load(); },
                                       .draining = [d = draining] { return d->load(); },
                                       .on_event = log_event,
                                       .counts = board->make("telemetry", "")});
  registry =
      sys.spawn(registry_behavior, registry_deps{std::move(*versions), model.base_digest, telemetry,
                                                 "head", board->make("registry", "")});
  if (plan.learns()) {
    auto started = head_training::start(sys, plan, model, {registry, telemetry, board});
    if (!started) return started.failure();
    training = std::move(*started);
  }
  if (auto told = register_initial(); !told) return told;
  ingress = sys.spawn(site_router_behavior, sites_of(plan), board->make("site_router", ""));
  children = std::make_shared<child_processes>(
      options.executable, plan.head.state_dir / "logs",
      [box = exits](const std::string& node, pid_t pid, int status) {
        box->post({node, pid, status});
      });
  return {};
}

/// Nodes elsewhere bring in no versions: what they start with must be known before they come.
result<void> cluster::impl::register_initial() {
  if (plan.nodes_here() == plan.nodes.size()) return {};
  auto initial = initial_versions(plan, model.base);
  if (!initial) return initial.failure();
  for (const auto& v : *initial)
    caf::anon_send(registry, registration(v, "head", model.base_digest, true));
  return {};
}

result<void> cluster::impl::start_link() {
  std::vector<link::node_identity> started;
  std::map<std::string, link::planned_member> linked;
  link::server_options server;
  for (const auto& n : plan.nodes) {
    if (n.where == placement::thread) continue;
    if (n.where == placement::process) started.push_back({n.name, n.site});
    linked[n.name] = {n.site, n.where == placement::remote};
    server.nodes[n.name] = {n.site, n.replicas};
    for (const auto& t : plan.tenants)
      if (t.site == n.site) server.nodes[n.name].tenants.insert(t.name);
  }
  const auto certificates = plan.head.state_dir / "link";
  auto made = link::ensure_certificates(certificates, plan.cluster, started);
  if (!made) return made;
  auto members = link::authority::open(certificates, std::move(linked));
  if (!members) return members.failure();
  server.listen = to_string(plan.head.link);
  server.cluster = plan.cluster;
  server.tls = link::head_files(certificates);
  server.members = *members;
  if (plan.head.enrol) server.enrolment.listen = to_string(*plan.head.enrol);
  server.enrolment.host = host_in_address(plan.head.host);
  server.enrolment.manifest = [text = plan.manifest_text](const std::string& node) {
    return manifest_for(text, node);
  };
  server.base_digest = model.base_digest;
  server.tokenizer_digest = model.tokenizer_digest;
  server.beat = beat;
  server.lost_after = lost_after;
  server.bounds = plan.bounds;
  server.log = [stopping = draining](schema::EventLevel level, const std::string& text) {
    log_link(level, text, stopping->load());
  };
  // Children are launched only once they can join: the supervisor starts them, so it comes after
  // the listener could be refused.
  supervisor = system->get().spawn(supervisor_behavior, supervision());
  exits->deliver_to(supervisor);
  link::server_actors to{supervisor, registry, telemetry};
  if (training) {
    for (const auto& [name, aggregator] : training->aggregators())
      to.aggregators[name] = aggregator;
    to.coordinator = training->coordinator();
  }
  auto listens = link::link_server::start(*loop, system->get(), std::move(server), std::move(to));
  if (!listens) return listens.failure();
  link = std::move(*listens);
  return {};
}

/// For nodes in this process, which have no link that tells aggregators apart by adapter.
aggregator_actor cluster::impl::one_aggregator() const {
  if (!training || training->aggregators().size() != 1) return {};
  return training->aggregators().begin()->second;
}

result<void> cluster::impl::start_threads() {
  for (const auto& n : plan.nodes) {
    if (n.where != placement::thread) continue;
    serving_node::outside to{
        registry,
        one_aggregator(),
        training ? coordinator_actor(training->coordinator()) : coordinator_actor(),
        [asked = stop_asked] { asked->store(true); },
        [](const std::string& why) { spdlog::critical("{}; restart the cluster", why); },
        [hub = telemetry](const msg<schema::Event>& e) { caf::anon_send(hub, e); }};
    auto started = serving_node::start(system->get(), *loop, plan, n, model, std::move(to));
    if (!started) return started.failure();
    const auto hello = msg<schema::Hello>::build([&](schema::Hello::Builder b) {
      b.setName(n.name);
      b.setSite(n.site);
      b.setIncarnation(1);
      b.setPid(static_cast<std::uint32_t>(getpid()));
    });
    caf::anon_send(supervisor, join_atom::value, hello, (*started)->router(), (*started)->node());
    caf::anon_send(supervisor, attach_atom::value, n.name, (*started)->telemetry());
    threads.push_back(std::move(*started));
  }
  return {};
}

result<void> cluster::impl::start_gateways() {
  port_deps deps{.base_name = plan.model.name,
                 .base_root = plan.model.file.filename().string(),
                 .router = ingress,
                 .telemetry = telemetry,
                 .bridges = board->make("bridge", ""),
                 .node = {},
                 .supervisor = supervisor,
                 .describe = {},
                 .fault = [] { return std::string(); },
                 .ready = [d = draining, n = answering] { return !d->load() && n->load() > 0; },
                 .request_stop = [asked = stop_asked] { asked->store(true); },
                 .in_flight = in_flight,
                 .bounds = plan.bounds,
                 .nodes = link.get()};
  if (training) {
    deps.coordinator = training->coordinator();
    deps.aggregators = training->aggregators();
    deps.registry = registry;
  }
  port = std::make_shared<actor_port>(system->get(), std::move(deps), (std::uint64_t{1} << 62) + 1);
  auto http_options = gateway_options(plan, "head", plan.head.http, plan.head.tls, std::nullopt);
  if (!http_options) return http_options.failure();
  http_options->role = gateway::gateway_role::head;
  http_options->assets = dashboard::assets();
  auto server = gateway::http_server::start(std::move(*http_options), *port, *model.encoder);
  if (!server) return server.failure();
  http = std::move(*server);
  auto opened = open_native(*loop, plan, plan.head.capnp, model, port);
  if (!opened) return opened.failure();
  native = std::move(*opened);
  return {};
}

result<msg<schema::ClusterStatus>> cluster::impl::status() const {
  caf::scoped_actor self(system->get());
  result<msg<schema::ClusterStatus>> out = error{errc::unavailable, "the supervisor is silent"};
  self->request(supervisor, std::chrono::seconds(2), list_atom::value)
      .receive([&](const msg<schema::ClusterStatus>& s) { out = s; },
               [&](const caf::error& e) {
                 out = error{errc::unavailable, to_string(e)};
               });
  return out;
}

/// No node of this machine has anything left to do, nor has the head's gateway.
bool cluster::impl::quiet() const {
  return (!children || children->running() == 0) && in_flight->load() == 0 &&
         std::all_of(threads.begin(), threads.end(), [](const auto& t) { return t->drained(); });
}

/// What came in here, wherever it runs: nodes in this process and elsewhere do not end with the
/// head's deadline, and a node of its own may be too slow to.
void cluster::impl::end_open_requests() {
  const auto* why = "the head was stopped: this request was still running at the deadline";
  const auto open = port ? port->end_all(why) : 0;
  if (open == 0) return;
  caf::anon_send(telemetry,
                 event_message(schema::EventLevel::WARNING, "head", "drain_deadline",
                               std::to_string(open) + " requests were still running: ended"));
}

void cluster::impl::stop(std::chrono::milliseconds running) {
  const auto ended = ended_at_most + settled_at_most;
  watchdog guard(running + ended + closed_at_most);
  draining->store(true);
  if (supervisor) caf::anon_send(supervisor, drain_atom::value);
  if (ingress) caf::anon_send(ingress, drain_atom::value);
  if (children) children->signal_last(SIGTERM);  // a node finishes what it runs and exits
  ports->release_all();                          // no process follows it
  for (auto& t : threads) t->drain(running);
  const auto done = [&] { return quiet(); };
  if (!wait_until(running, done)) {
    end_open_requests();
    wait_until(ended, done);
  }
  if (http) http->stop();
  http.reset();
  if (native) native->settle(read_at_most);
  native.reset();
  link.reset();
  if (port) port->close();
  {  // at once: each may wait for its clients
    std::vector<std::jthread> stops;
    for (auto& t : threads) stops.emplace_back([&t] { t->stop(); });
  }
  threads.clear();
  if (children) children->close();
  exits->close();
  end_actor(supervisor);
  end_actor(ingress);
  training.reset();
  end_actor(registry);
  end_actor(telemetry);
  supervisor = nullptr;
  ingress = nullptr;
  registry = nullptr;
  telemetry = nullptr;
  children.reset();
  port.reset();
  loop.reset();
  system.reset();
}

cluster::cluster(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
cluster::~cluster() {
  if (impl_->system) stop(std::chrono::seconds(0));
}

result<std::unique_ptr<cluster>> cluster::start(const spawn_plan& plan, start_options options) {
  auto state = std::make_unique<impl>();
  state->plan = plan;
  state->options = std::move(options);
  std::unique_ptr<cluster> made(new cluster(std::move(state)));
  if (auto started = made->impl_->start(); !started) return started.failure();
  return made;
}

result<void> cluster::wait_ready(std::chrono::milliseconds at_most,
                                 const std::function<bool()>& over) {
  const auto wanted = impl_->plan.nodes_here();  // remote ones come when they come
  const auto ready = [&] { return impl_->own_serving->load() == wanted; };
  wait_until(at_most, [&] { return ready() || over(); });
  if (ready()) return {};
  if (over()) return error{errc::cancelled, "stopped before every node served"};
  std::string missing;
  const auto state = impl_->status();
  if (!state) missing = state.failure().message;
  if (state) {
    const auto status = state->read();
    for (const auto n : status->getNodes()) {
      const auto* planned = impl_->plan.node(n.getName().cStr());
      const bool elsewhere = planned != nullptr && !impl_->plan.here(*planned);
      if (n.getState() == schema::NodeState::SERVING || elsewhere) continue;
      missing += std::string(missing.empty() ? "" : "; ") + n.getName().cStr() + ": " +
                 n.getReason().cStr();
    }
  }
  return error{errc::timeout, "not every node serves after " +
                                  std::to_string(at_most.count() / 1000) + " s (" + missing +
                                  "); see " + (impl_->plan.head.state_dir / "logs").string()};
}

result<std::string> cluster::status_json() const {
  const auto status = impl_->status();
  if (!status) return status.failure();
  return gateway::to_json(*status->read());
}

bool cluster::stop_requested() const { return impl_->stop_asked->load(); }
void cluster::stop(std::chrono::milliseconds running) { impl_->stop(running); }

}  // namespace collm::deploy
