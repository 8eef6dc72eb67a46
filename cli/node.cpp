#include <iostream>
#include <ostream>

#include "cli/manifest_source.hpp"
#include "cli/verbs.hpp"
#include "deploy/cluster.hpp"
#include "deploy/logging.hpp"
#include "deploy/remote_node.hpp"

namespace collm::cli {
namespace {

struct node_options {
  std::string name, file, base_dir, join, dir, log_level = "info";
  std::uint64_t incarnation = 0;
};

/// Takes a token's certificate; the node then starts from its folder as it will every other time.
result<void> join(console& io, node_options& o) {
  if (!o.name.empty())
    return error{errc::bad_request, "a token names its node: leave \"" + o.name + "\" out"};
  // A token among the arguments stands in the list of processes for as long as the node runs.
  if (o.join == "-" && !std::getline(std::cin, o.join))
    return error{errc::bad_request, "standard input holds no token; collm join-token makes one"};
  const auto joined = deploy::join_cluster(o.join, o.dir);
  if (!joined) return joined.failure();
  o.name = joined->name;
  o.dir = joined->folder.string();
  io.remarks() << joined->name << " of site " << joined->site << " has joined the head at "
               << joined->head << "; from now on: collm node " << joined->name << " --dir " << o.dir
               << std::endl;
  return {};
}

int node(console& io, node_options o, const std::filesystem::path& executable) {
  const bool spawned = o.incarnation != 0;  // by the head, whose environment is an operator's
  if (!o.join.empty() && !spawned) {
    if (const auto joined = join(io, o); !joined) return io.fail(joined.failure());
  }
  if (o.name.empty())
    return io.fail(
        {errc::bad_request, "which node? collm node NAME --dir FOLDER, or --join TOKEN"});
  const bool remote = !o.dir.empty() && !spawned;
  const auto source =
      read_manifest(remote ? (std::filesystem::path(o.dir) / "cluster.yaml").string() : o.file);
  if (!source) return io.fail(source.failure());
  const auto on = deploy::machine::here();
  const deploy::plan_check checked = deploy::make_plan(
      source->yaml, o.base_dir.empty() ? source->base_dir : std::filesystem::path(o.base_dir), on,
      remote ? o.name : "");
  if (!checked.plan) return report(io, source->name, checked.problems);
  deploy::start_logging(o.log_level);
  const auto ended = deploy::run_node(*checked.plan, o.name, o.incarnation,
                                      {executable, on.cache_dir / "bases", o.log_level});
  return ended ? success : io.fail(ended.failure());
}

}  // namespace

void add_node(program& p) {
  verb v(p.app, "node",
         "Run one node of a cluster: one that the head does not start, or take it out");
  const auto o = std::make_shared<node_options>();
  v.app().add_option("name", o->name, "node name in the manifest; a token names its own");
  v.flag("--join", o->join,
         "join with this token (collm join-token, on the head), then run; -: of standard input");
  v.flag("--dir", o->dir, "folder of a node that has joined, or is to: key, manifest, site data");
  add_manifest_flag(v, o->file);
  v.flag("--base-dir", o->base_dir, "folder that the manifest's relative paths start from");
  v.flag("--incarnation", o->incarnation, "rises with every start of this node");
  v.flag("--log-level", o->log_level, "what is logged to standard error")
      ->check(CLI::IsMember(deploy::log_levels()))
      ->capture_default_str();
  add_node_members(p, v.app());
  v.runs(p.io, p.exit, [&p, &app = v.app(), &io = p.io, &exit = p.exit, o] {
    return app.get_subcommands().empty() ? node(io, *o, p.executable) : exit;
  });
}

}  // namespace collm::cli
