// The body of a node process: opens the base, serves, keeps its link to the head, drains on SIGTERM
// or when its head says so.
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>

#include "deploy/actor_system.hpp"
#include "deploy/child_processes.hpp"
#include "deploy/cluster.hpp"
#include "deploy/held_ports.hpp"
#include "deploy/private_folder.hpp"
#include "deploy/remote_node.hpp"
#include "deploy/serving.hpp"
#include "deploy/stop_times.hpp"

namespace collm::deploy {

namespace {

constexpr int exit_wedged = 71;

msg<schema::Hello> hello_of(const node_plan& node, std::uint64_t incarnation,
                            const opened_model& model) {
  return msg<schema::Hello>::build([&](schema::Hello::Builder b) {
    b.setName(node.name);
    b.setSite(node.site);
    b.setIncarnation(incarnation);
    b.setProtocol(link::protocol_current);
    b.setBaseDigest(model.base_digest);
    b.setTokenizerDigest(model.tokenizer_digest);
    b.setHttpAddress(shown_address(node.http, node.tls));
    b.setPid(static_cast<std::uint32_t>(getpid()));
  });
}

/// The head ended before it could be asked to signal its end. False where nobody spawned us.
bool head_is_gone() {
  const char* head = std::getenv(head_pid_variable);
  return head != nullptr && std::to_string(getppid()) != head;
}

/// SIGTERM or SIGINT, which are blocked, was sent.
bool end_is_asked() {
  sigset_t sent;
  sigpending(&sent);
  return sigismember(&sent, SIGTERM) == 1 || sigismember(&sent, SIGINT) == 1;
}

/// Waits for SIGTERM or SIGINT, or until `ended` says so; looks every 100 ms.
void wait_for_end(const sigset_t& signals, const std::function<bool()>& ended) {
  for (;;) {
    const timespec pause{0, 100'000'000};
    if (sigtimedwait(&signals, nullptr, &pause) > 0 || ended()) return;
  }
}

/// How a node process takes part in its cluster.
struct membership {
  std::string head;
  link::tls_files tls;
  std::uint64_t incarnation = 0;
};

/// One that the head spawned ends, in order, with it; one from elsewhere finds its own way.
result<membership> take_part(const spawn_plan& plan, const node_plan& node,
                             std::uint64_t incarnation) {
  const auto& folder = plan.head.state_dir;
  membership out{to_string(plan.head.link), link::node_files(folder / "link", node.name),
                 incarnation};
  if (node.where == placement::remote) {
    auto head = head_address(folder);
    if (!head) return head.failure();
    auto next = next_incarnation(folder);
    if (!next) return next.failure();
    out.head = *head;
    out.incarnation = *next;
  } else {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (head_is_gone())
      return error{errc::unavailable, "the head that started node '" + node.name + "' has ended"};
  }
  auto usable = link::check_certificate(out.tls, link::node_common_name(node.name));
  if (!usable) return usable.failure();
  return out;
}

}  // namespace

result<void> run_node(const spawn_plan& plan, const std::string& name, std::uint64_t incarnation,
                      start_options options) {
  const auto* node = plan.node(name);
  if (node == nullptr) return error{errc::not_found, "the manifest has no node '" + name + "'"};
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  if (auto made = keep_private(plan.head.state_dir); !made) return made.failure();
  auto as = take_part(plan, *node, incarnation);
  if (!as) return as.failure();
  auto model = open_model(plan, options.cache_dir, true, end_is_asked);
  if (!model && model.failure().code == errc::cancelled) {
    spdlog::info("{} was told to end before it served: {}", name, model.failure().message);
    return {};
  }
  if (!model) return model.failure();
  caf_system system;
  link::loop loop;
  link::client_options client;
  client.head = as->head;
  client.cluster = plan.cluster;
  client.tls = as->tls;
  client.hello = hello_of(*node, as->incarnation, *model);
  client.bounds = plan.bounds;
  auto stop_asked = std::make_shared<std::atomic<bool>>(false);
  // A link that ends while this process stops was not lost.
  client.log = [stop_asked](schema::EventLevel level, const std::string& text) {
    log_link(level, text, stop_asked->load());
  };
  auto head = link::link_client::create(loop, system.get(), std::move(client));
  if (!head) return head.failure();

  serving_node::outside to{
      .registry = (*head)->registry(),
      .aggregator = (*head)->aggregator(),
      .coordinator = (*head)->coordinator(),
      .request_stop = [stop_asked] { stop_asked->store(true); },
      .wedged =
          [](const std::string& why) {
            spdlog::critical("{}: ending this process so that its supervisor replaces it", why);
            spdlog::shutdown();
            _exit(exit_wedged);
          },
      .on_event =
          [link = head->get()](const msg<schema::Event>& e) {
            log_event(e);
            link->report(e);
          },
      .of_head = [link = head->get()] { return link->requests_open(); },
      .listener = handed_listener()};
  auto serving = serving_node::start(system.get(), loop, plan, *node, *model, std::move(to));
  if (!serving) return serving.failure();
  (*head)->serve({(*serving)->router(), (*serving)->node(), (*serving)->telemetry()});
  spdlog::info("{} serves site {} on {}", name, node->site, (*serving)->http_address());

  wait_for_end(signals, [&] { return stop_asked->load() || (*serving)->drained(); });
  stop_asked->store(true);
  (*serving)->drain(running_at_most);
  wait_until(running_at_most + ended_at_most, [&] { return (*serving)->drained(); });
  (*head)->settle(settled_at_most);
  watchdog guard(closed_at_most);
  (*serving)->stop();
  head->reset();
  return {};
}

}  // namespace collm::deploy
