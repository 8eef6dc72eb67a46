#include "cli/cluster_client.hpp"
#include "cli/status_view.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

struct audit_options {
  cluster_flags cluster;
  unsigned limit = 20;
};

std::string audit_text(const json& list) {
  std::vector<std::vector<std::string>> rows = {
      {"TIME", "GATEWAY", "WHO", "FROM", "WHAT", "ASKED", "OUTCOME"}};
  for (const json& act : part(list, "data")) {
    const auto status = static_cast<unsigned>(number(act, "status"));
    rows.push_back(
        {text(act, "time"), text(act, "gateway"), text(act, "who"), text(act, "from"),
         text(act, "what"), text(act, "asked"),
         text(act, "outcome") + (status >= 100 ? " (" + std::to_string(status) + ")" : "")});
  }
  return table(rows);
}

int audit(console& io, const audit_options& o) {
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto list = cluster->get("/admin/v1/audit?limit=" + std::to_string(o.limit));
  if (!list) return io.fail(list.failure());
  if (io.wants_json())
    io.print(*list);
  else
    io.out() << audit_text(*list) << std::flush;
  return success;
}

}  // namespace

void add_audit(program& p) {
  verb v(p.app, "audit", "List the last admin acts: who did what, when, and what came of it");
  const auto o = std::make_shared<audit_options>();
  v.flag("--limit", o->limit, "lines, the last ones")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  add_cluster_flags(v, o->cluster);
  v.runs(p.io, p.exit, [&io = p.io, o] { return audit(io, *o); });
}

}  // namespace collm::cli
