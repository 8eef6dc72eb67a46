#include "cli/cluster_client.hpp"
#include "cli/verbs.hpp"

#include <ostream>

#include "deploy/manifest_values.hpp"
#include "messages/limits.hpp"

namespace collm::cli {
namespace {

/// For the answer after the deadline, when the process ends.
constexpr std::chrono::minutes answer_max{5};

struct drain_options {
  cluster_flags cluster;
  std::string node, deadline = "30s";
  bool again = false;
};

int drain(console& io, const drain_options& o) {
  const auto deadline_ms = deploy::milliseconds_between(0, drain_deadline_ms_max)(o.deadline);
  if (!deadline_ms)
    return io.fail({errc::bad_request, "--deadline: " + deadline_ms.failure().message});
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto done = cluster->post(
      "/admin/v1/drain", {{"node", o.node}, {"restart", o.again}, {"deadline_ms", *deadline_ms}},
      answer_max + std::chrono::milliseconds(*deadline_ms));
  if (!done) return io.fail(done.failure());
  if (io.wants_json())
    io.print({{"node", o.node}, {"drained", true}, {"restarting", o.again}});
  else
    io.out() << o.node << " is drained: it admits nothing, and nothing runs there"
             << (o.again ? "; its process is started anew" : "") << "\n";
  return success;
}

}  // namespace

void add_drain(program& p) {
  verb v(p.app, "drain", "Stop admitting at a node and wait until its requests have ended");
  const auto o = std::make_shared<drain_options>();
  v.argument("node", o->node, "node name, as collm status shows it");
  v.flag("--deadline", o->deadline, "what still runs after it is ended, such as 2m; at most 10m")
      ->capture_default_str();
  add_cluster_flags(v, o->cluster);
  v.toggle("--restart", o->again, "and start its process anew; also one that was drained before");
  v.runs(p.io, p.exit, [&io = p.io, o] { return drain(io, *o); });
}

}  // namespace collm::cli
