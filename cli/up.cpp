#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <ostream>
#include <thread>

#include "cli/cluster_client.hpp"
#include "cli/learning_demo.hpp"
#include "cli/manifest_source.hpp"
#include "cli/plan_view.hpp"
#include "cli/play.hpp"
#include "cli/status_view.hpp"
#include "cli/verbs.hpp"
#include "deploy/cluster.hpp"
#include "deploy/doctor.hpp"
#include "deploy/logging.hpp"
#include "deploy/stop_times.hpp"
#include "messages/json_text.hpp"

namespace collm::cli {
namespace {

/// Packing a base for the first time takes most of it.
constexpr std::chrono::seconds ready_max{60};
constexpr std::chrono::seconds settle_max{10};
constexpr std::chrono::milliseconds look_again{100};

/// A demo of serving alone: the report comes within 90 s of the start, at a rate that two slow
/// cores can serve.
constexpr double demo_seconds = 30, demo_rate = 1.5;
/// One that learns ends within seven minutes on two cores.
constexpr double learning_seconds = 300, learning_rate = 0.4;
constexpr std::uint32_t learning_first_questions = 15, learning_questions = 60;

struct up_options {
  std::string file, log_level = "warning", report;
  bool demo = false, once = false;
};

std::atomic<bool> interrupted{false};

using condition = std::function<bool()>;

void on_signals(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

/// Ctrl-C and SIGTERM begin the stop; a second one, of either, ends the process, should it hang.
void on_interrupt(int) {
  interrupted = true;
  on_signals(SIG_DFL);
}

json announcement(const deploy::spawn_plan& plan, const json& status) {
  const std::string head = url_of(plan.head.http, plan.head.tls);
  json sites = json::array();
  for (const deploy::node_plan& n : plan.nodes) {
    if (!plan.here(n)) continue;
    sites.push_back({{"node", n.name}, {"site", n.site}, {"http", url_of(n.http, n.tls)}});
  }
  return {{"cluster", plan.cluster},
          {"http", head},
          {"dashboard", head + "/dashboard/"},
          {"sites", sites},
          {"memory_bytes", memory_used(status)},
          {"budget_bytes", plan.budget_bytes},
          {"kernel_path", kernel_path_of(status)}};
}

std::string line_of(const json& up) {
  std::string line = text(up, "cluster") + " is up: " + text(up, "http");
  for (const json& site : up["sites"]) line += ", " + text(site, "site") + " " + text(site, "http");
  return line + "; dashboard " + text(up, "dashboard") + "; memory " +
         size_text(number(up, "memory_bytes")) + " of " + size_text(number(up, "budget_bytes")) +
         "; " + text(up, "kernel_path", "kernel path not told yet");
}

/// Before anything is spawned or written: all ports at once, not one after the other as they fail.
result<void> check_ports(const deploy::spawn_plan& plan) {
  std::string all, mend;
  for (const deploy::finding& f : deploy::busy_ports(plan)) {
    all += (all.empty() ? "" : ", ") + f.text;
    mend = f.mend;
  }
  if (all.empty()) return {};
  return error{errc::conflict, all + "; " + mend};
}

bool has_version(const json& snapshot, const std::string& adapter) {
  const json& versions = part(snapshot, "versions");
  return versions.is_array() && std::any_of(versions.begin(), versions.end(), [&](const json& v) {
           return text(v, "adapter") == adapter;
         });
}

/// Every node has reported its memory and every adapter of the plan.
bool is_settled(const json& status, const deploy::spawn_plan& plan) {
  const json& nodes = part(status, "nodes");
  if (!nodes.is_array()) return false;
  return std::all_of(nodes.begin(), nodes.end(), [&](const json& node) {
    const auto* planned = plan.node(text(node, "name"));
    if (planned != nullptr && !plan.here(*planned)) return true;  // it comes when it comes
    const json& snapshot = part(node, "snapshot");
    const json& ledger = part(snapshot, "ledger");
    return ledger.is_array() && !ledger.empty() &&
           std::all_of(
               plan.adapters.begin(), plan.adapters.end(),
               [&](const deploy::adapter_spec& a) { return has_version(snapshot, a.name); });
  });
}

/// The first status in which everything is settled; the last one when that takes too long.
result<json> settled_status(const deploy::cluster& running, const deploy::spawn_plan& plan,
                            const condition& over) {
  const auto end = std::chrono::steady_clock::now() + settle_max;
  for (;;) {
    const auto text = running.status_json();
    if (!text) return text.failure();
    auto status = parse_json<json>(*text);
    const bool late = std::chrono::steady_clock::now() > end;
    if (late || over() || is_settled(status, plan)) return status;
    std::this_thread::sleep_for(look_again);
  }
}

result<json> announce(console& io, const deploy::cluster& running, const deploy::spawn_plan& plan,
                      const condition& over) {
  auto status = settled_status(running, plan, over);
  if (!status) return status;
  const json up = announcement(plan, *status);
  if (io.wants_json())
    io.print(up);
  else
    io.out() << line_of(up) << std::endl;
  return status;
}

result<void> show_learning(console& io, const json& status, const deploy::spawn_plan& plan,
                           const up_options& o, const condition& over) {
  const auto head = cluster_client::connect({url_of(plan.head.http, plan.head.tls), "", ""});
  if (!head) return head.failure();
  const auto& f = plan.federation.front();
  const auto done = play_learning(io, *head, status,
                                  {f.adapter, f.alone, learning_seconds, learning_rate,
                                   learning_first_questions, learning_questions, over});
  if (!done) return done.failure();
  return show_report(io, *done, o.report);
}

result<void> play_demo(console& io, const json& status, const deploy::spawn_plan& plan,
                       const up_options& o, const condition& over) {
  if (plan.learns()) return show_learning(io, status, plan, o, over);
  const auto what = demo_workload(demo_seconds, demo_rate);
  if (!what) return what.failure();
  io.remark("playing " + std::to_string(what->requests.size()) + " requests of the demo …");
  const auto done = play(*what, status, {}, over);
  if (!done) return done.failure();
  return show_report(io, *done, o.report);
}

/// The demo's players have no key and trust no private authority.
result<void> check_demo(const deploy::spawn_plan& plan) {
  const bool tls = plan.head.tls || std::any_of(plan.nodes.begin(), plan.nodes.end(),
                                                [](const auto& n) { return n.tls.has_value(); });
  if (!tls && plan.tenants.empty() && plan.admin_key_sha256.empty()) return {};
  return error{
      errc::bad_request,
      "--demo plays without keys and TLS; leave tenants, admin and gateway.tls out, or play "
      "it with collm inject demo --key KEY --ca FILE"};
}

/// A demo that was told to stop has no report, and that is no failure.
int demonstrate(console& io, const up_options& o, const deploy::spawn_plan& plan,
                const json& status, const condition& over) {
  const auto played = play_demo(io, status, plan, o, over);
  if (played) return success;
  if (played.failure().code != errc::cancelled) return io.fail(played.failure());
  io.remark("the demo was stopped before its end; there is no report");
  return success;
}

int serve(console& io, const up_options& o, const deploy::spawn_plan& plan,
          deploy::cluster& running, const condition& over) {
  const auto ready = running.wait_ready(ready_max, over);
  if (!ready && ready.failure().code == errc::cancelled) return success;
  if (!ready) return io.fail(ready.failure());
  const auto status = announce(io, running, plan, over);
  if (!status) return io.fail(status.failure());
  const int outcome = o.demo && !over() ? demonstrate(io, o, plan, *status, over) : success;
  if (o.once || over()) return outcome;
  io.remark("Ctrl-C or collm down ends it");
  while (!over()) std::this_thread::sleep_for(look_again);
  return outcome;
}

int up(console& io, const up_options& o, const std::filesystem::path& executable) {
  const auto source = read_manifest(o.file);
  if (!source) return io.fail(source.failure());
  const auto on = deploy::machine::here();
  const deploy::plan_check checked = deploy::make_plan(source->yaml, source->base_dir, on);
  if (!checked.plan) return report(io, source->name, checked.problems);
  if (const auto free = check_ports(*checked.plan); !free) return io.fail(free.failure());
  if (o.demo) {
    if (const auto may = check_demo(*checked.plan); !may) return io.fail(may.failure());
  }
  deploy::start_logging(o.log_level);
  on_signals(on_interrupt);
  auto running = deploy::cluster::start(*checked.plan, {executable, on.cache_dir / "bases",
                                                        o.log_level, [] { return +interrupted; }});
  if (!running && running.failure().code == errc::cancelled && interrupted) {
    io.remark("stopped before it was up: " + running.failure().message);
    return success;
  }
  if (!running) return io.fail(running.failure());
  const condition over = [&head = **running] { return interrupted || head.stop_requested(); };
  const int outcome = serve(io, o, *checked.plan, **running, over);
  if (over()) {
    io.remark("finishing what runs, 30 s at most; Ctrl-C again ends it now");
    on_signals(SIG_DFL);  // collm down came without one
  }
  (*running)->stop(deploy::running_at_most);
  return outcome;
}

}  // namespace

void add_up(program& p) {
  verb v(p.app, "up", "Start a cluster and stay until Ctrl-C or collm down");
  const auto o = std::make_shared<up_options>();
  add_manifest_flag(v, o->file);
  v.toggle("--demo", o->demo, "play the demo workload once it serves, and report");
  v.toggle("--once", o->once, "end after the start, or after the demo's report");
  v.flag("--report", o->report, "also write the demo's report there, as JSON");
  v.flag("--log-level", o->log_level, "what is logged to standard error")
      ->check(CLI::IsMember(deploy::log_levels()))
      ->capture_default_str();
  v.runs(p.io, p.exit,
         [&io = p.io, o, executable = p.executable] { return up(io, *o, executable); });
}

}  // namespace collm::cli
