#include "cli/manifest_source.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

int validate(console& io, const std::string& file) {
  const auto source = read_manifest(file);
  if (!source) return io.fail(source.failure());
  const deploy::plan_check checked =
      deploy::make_plan(source->yaml, source->base_dir, deploy::machine::here());
  if (!checked.plan) return report(io, source->name, checked.problems);
  const deploy::spawn_plan& plan = *checked.plan;
  if (io.wants_json()) {
    io.print({{"valid", true},
              {"manifest", source->name},
              {"problems", json::array()},
              {"inactive", plan.inactive}});
    return success;
  }
  io.out() << source->name << ": " << io.painted("valid", style::good) << ": cluster "
           << plan.cluster << ", " << plan.nodes.size()
           << (plan.nodes.size() == 1 ? " node, " : " nodes, ") << plan.adapters.size()
           << (plan.adapters.size() == 1 ? " adapter\n" : " adapters\n");
  for (const std::string& part : plan.inactive)
    io.out() << io.painted("  " + part, style::dim) << "\n";
  return success;
}

}  // namespace

void add_validate(program& p) {
  verb v(p.app, "validate", "Check a manifest against this machine; nothing is started");
  const auto file = std::make_shared<std::string>();
  add_manifest_flag(v, *file);
  v.runs(p.io, p.exit, [&io = p.io, file] { return validate(io, *file); });
}

}  // namespace collm::cli
