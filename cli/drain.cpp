#include "cli/cluster_client.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

/// Running answers may take this long to end; the node gives up earlier by its own deadline.
constexpr std::chrono::minutes drain_max{5};

int drain(console& io, const cluster_flags& flags, const std::string& node, bool again) {
  const auto cluster = cluster_client::connect(flags);
  if (!cluster) return io.fail(cluster.failure());
  const auto done =
      cluster->post("/admin/v1/drain", {{"node", node}, {"restart", again}}, drain_max);
  if (!done) return io.fail(done.failure());
  if (io.wants_json())
    io.print({{"node", node}, {"drained", true}, {"restarting", again}});
  else
    io.out() << node << " is drained: it admits nothing, and nothing runs there"
             << (again ? "; its process is started anew" : "") << "\n";
  return success;
}

}  // namespace

void add_drain(program& p) {
  verb v(p.app, "drain", "Stop admitting at a node and wait until its requests have ended");
  const auto flags = std::make_shared<cluster_flags>();
  const auto node = std::make_shared<std::string>();
  v.argument("node", *node, "node name, as collm status shows it");
  add_cluster_flags(v, *flags);
  const auto again = std::make_shared<bool>(false);
  v.toggle("--restart", *again, "and start its process anew");
  v.runs(p.io, p.exit,
         [&io = p.io, flags, node, again] { return drain(io, *flags, *node, *again); });
}

}  // namespace collm::cli
