#include "cli/cluster_client.hpp"
#include "cli/play.hpp"
#include "cli/verbs.hpp"

namespace collm::cli {
namespace {

struct inject_options {
  cluster_flags cluster;
  std::string what, report;
  double minutes = 1, rate = 1.5;
};

result<bench::workload> workload_of(const inject_options& o) {
  if (o.what == "demo") return demo_workload(o.minutes * 60, o.rate);
  return bench::read_workload_file(o.what);
}

int inject(console& io, const inject_options& o) {
  const auto what = workload_of(o);
  if (!what) return io.fail(what.failure());
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto status = cluster->status();
  if (!status) return io.fail(status.failure());
  const auto done = play(*what, *status, o.cluster);
  if (!done) return io.fail(done.failure());
  if (const auto shown = show_report(io, *done, o.report); !shown) return io.fail(shown.failure());
  return number(done->report, "failed") > 0 ? failed : success;
}

}  // namespace

void add_inject(program& p) {
  verb v(p.app, "inject",
         "Play a workload file, or the demo, through the sites' gateways and report");
  const auto o = std::make_shared<inject_options>();
  v.argument("workload", o->what, "demo, or a workload file (collm workload make)");
  v.flag("--minutes", o->minutes, "of the demo")
      ->check(CLI::Range(0.05, 1440.0))
      ->capture_default_str();
  v.flag("--rate", o->rate, "requests a second of the demo")
      ->check(CLI::Range(0.01, 1000.0))
      ->capture_default_str();
  v.flag("--report", o->report, "also write the report there, as JSON");
  add_cluster_flags(v, o->cluster);
  v.runs(p.io, p.exit, [&io = p.io, o] { return inject(io, *o); });
}

}  // namespace collm::cli
