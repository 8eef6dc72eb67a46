#include "cli/cluster_client.hpp"
#include "cli/status_view.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

int status(console& io, const cluster_flags& flags) {
  const auto cluster = cluster_client::connect(flags);
  if (!cluster) return io.fail(cluster.failure());
  const auto found = cluster->status();
  if (!found) return io.fail(found.failure());
  if (io.wants_json())
    io.print(*found);
  else
    io.out() << status_text(*found, io);
  return success;
}

}  // namespace

void add_status(program& p) {
  verb v(p.app, "status", "Show head, nodes, versions and memory of a running cluster");
  const auto flags = std::make_shared<cluster_flags>();
  add_cluster_flags(v, *flags);
  v.runs(p.io, p.exit, [&io = p.io, flags] { return status(io, *flags); });
}

}  // namespace collm::cli
