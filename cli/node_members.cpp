// `node revoke` and `node rotate`: what an operator does to a node's certificates, at the head.
#include <ostream>

#include "cli/cluster_client.hpp"
#include "cli/verbs.hpp"

namespace collm::cli {
namespace {

struct member_act {
  const char* verb;
  const char* says;
  const char* done;
};

int act(console& io, const cluster_flags& flags, const std::string& node, const member_act& what) {
  const auto cluster = cluster_client::connect(flags);
  if (!cluster) return io.fail(cluster.failure());
  const auto done = cluster->post(std::string("/admin/v1/nodes/") + what.verb, {{"node", node}});
  if (!done) return io.fail(done.failure());
  if (io.wants_json())
    io.print({{"node", node}, {"done", what.verb}});
  else
    io.out() << node << " " << what.done << "\n";
  return success;
}

}  // namespace

void add_node_members(program& p, CLI::App& group) {
  static constexpr member_act acts[] = {
      {"revoke", "End a node's link, at once and for good: a stolen box, a lost key",
       "is revoked: its link is closed, its certificates are worth nothing"},
      {"rotate", "Have a connected node make itself a new key and certificate",
       "has a new certificate; the old one ends in ten minutes"}};
  for (const auto& what : acts) {
    verb v(group, what.verb, what.says);
    const auto flags = std::make_shared<cluster_flags>();
    const auto node = std::make_shared<std::string>();
    v.argument("node", *node, "node name, as collm status shows it");
    add_cluster_flags(v, *flags);
    v.runs(p.io, p.exit, [&io = p.io, flags, node, &what] { return act(io, *flags, *node, what); });
  }
}

}  // namespace collm::cli
