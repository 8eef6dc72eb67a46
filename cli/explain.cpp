// `collm explain promotion` and `collm rollback`: why a version serves, and the way back.
#include "cli/cluster_client.hpp"
#include "cli/training_view.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

struct explain_options {
  cluster_flags cluster;
  std::string version;
};

int promotion(console& io, const explain_options& o) {
  named_version wanted;
  if (!o.version.empty()) {
    const auto parsed = parse_version(o.version);
    if (!parsed) return io.fail(parsed.failure());
    wanted = *parsed;
  }
  const auto cluster = cluster_client::connect(o.cluster);
  if (!cluster) return io.fail(cluster.failure());
  const auto found = cluster->get("/admin/v1/explain?adapter=" + wanted.adapter +
                                  "&version=" + std::to_string(wanted.number));
  if (!found) return io.fail(found.failure());
  if (io.wants_json()) return io.print(*found), success;
  io.out() << explanation_text(*found, io);
  return success;
}

int rollback(console& io, const cluster_flags& flags, const std::string& adapter) {
  const auto cluster = cluster_client::connect(flags);
  if (!cluster) return io.fail(cluster.failure());
  const auto record = cluster->post("/admin/v1/rollback", {{"adapter", adapter}});
  if (!record) return io.fail(record.failure());
  if (io.wants_json()) return io.print(*record), success;
  io.out() << text(*record, "adapter") << "@" << static_cast<unsigned>(number(*record, "number"))
           << " serves again; running requests end on the version they began with\n";
  return success;
}

}  // namespace

void add_explain(program& p) {
  CLI::App* parent = p.app.add_subcommand("explain", "Say why things are as they are");
  parent->require_subcommand(1);
  verb v(*parent, "promotion",
         "Why a version serves or does not: paired test, effect per site, what it is made of");
  const auto o = std::make_shared<explain_options>();
  v.app().add_option("version", o->version,
                     "ADAPTER or ADAPTER@N; left out: what serves of the only trained adapter");
  add_cluster_flags(v, o->cluster);
  v.runs(p.io, p.exit, [&io = p.io, o] { return promotion(io, *o); });
}

void add_rollback(program& p) {
  verb v(p.app, "rollback",
         "Let the version before serve again; what serves now is never promoted again");
  const auto flags = std::make_shared<cluster_flags>();
  const auto adapter = std::make_shared<std::string>();
  v.argument("adapter", *adapter, "adapter name");
  add_cluster_flags(v, *flags);
  v.runs(p.io, p.exit, [&io = p.io, flags, adapter] { return rollback(io, *flags, *adapter); });
}

}  // namespace collm::cli
