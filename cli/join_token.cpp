#include <ostream>

#include "cli/cluster_client.hpp"
#include "cli/verbs.hpp"
#include "deploy/manifest_values.hpp"

namespace collm::cli {
namespace {

struct token_options {
  cluster_flags cluster;
  std::string node, lives = "10m";
};

int join_token(console& io, const token_options& o) {
  const auto lives_ms = deploy::milliseconds_between(1000, 24 * 3600 * 1000)(o.lives);
  if (!lives_ms) return io.fail({errc::bad_request, "--ttl: " + lives_ms.failure().message});
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto made =
      cluster->post("/admin/v1/nodes/token", {{"node", o.node}, {"ttl_s", *lives_ms / 1000}});
  if (!made) return io.fail(made.failure());
  if (io.wants_json()) {
    io.print(*made);
    return success;
  }
  io.out() << text(*made, "token") << std::endl;
  io.remarks() << "for " << o.node << ", once, within " << o.lives
               << "; on its machine: collm node --join - (then the token)" << std::endl;
  return success;
}

}  // namespace

void add_join_token(program& p) {
  verb v(p.app, "join-token", "Make a token with which a node elsewhere joins, once");
  const auto o = std::make_shared<token_options>();
  v.flag("--node", o->node, "node of the manifest with placement: remote")->required();
  v.flag("--ttl", o->lives, "for how long it can be used, such as 10m")->capture_default_str();
  add_cluster_flags(v, o->cluster);
  v.runs(p.io, p.exit, [&io = p.io, o] { return join_token(io, *o); });
}

}  // namespace collm::cli
