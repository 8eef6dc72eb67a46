#include <ostream>

#include "cli/manifest_source.hpp"
#include "cli/verbs.hpp"
#include "deploy/cluster.hpp"
#include "deploy/logging.hpp"

namespace collm::cli {
namespace {

struct node_options {
  std::string name, file, base_dir, log_level = "info";
  std::uint64_t incarnation = 0;
};

int node(console& io, const node_options& o, const std::filesystem::path& executable) {
  const auto source = read_manifest(o.file);
  if (!source) return io.fail(source.failure());
  const auto on = deploy::machine::here();
  const deploy::plan_check checked = deploy::make_plan(
      source->yaml, o.base_dir.empty() ? source->base_dir : std::filesystem::path(o.base_dir), on);
  if (!checked.plan) return report(io, source->name, checked.problems);
  deploy::start_logging(o.log_level);
  const auto ended = deploy::run_node(*checked.plan, o.name, o.incarnation,
                                      {executable, on.cache_dir / "bases", o.log_level});
  return ended ? success : io.fail(ended.failure());
}

}  // namespace

void add_node(program& p) {
  verb v(p.app, "node", "Run one node of a cluster; the head starts it, people do not");
  const auto o = std::make_shared<node_options>();
  v.argument("name", o->name, "node name in the manifest");
  add_manifest_flag(v, o->file);
  v.flag("--base-dir", o->base_dir, "folder that the manifest's relative paths start from");
  v.flag("--incarnation", o->incarnation, "rises with every start of this node");
  v.flag("--log-level", o->log_level, "what is logged to standard error")
      ->check(CLI::IsMember(deploy::log_levels()))
      ->capture_default_str();
  v.runs(p.io, p.exit,
         [&io = p.io, o, executable = p.executable] { return node(io, *o, executable); });
}

}  // namespace collm::cli
