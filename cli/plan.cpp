#include "cli/manifest_source.hpp"
#include "cli/plan_view.hpp"
#include "cli/verbs.hpp"

#include <ostream>

namespace collm::cli {
namespace {

int plan(console& io, const std::string& file) {
  const auto source = read_manifest(file);
  if (!source) return io.fail(source.failure());
  const deploy::plan_check checked =
      deploy::make_plan(source->yaml, source->base_dir, deploy::machine::here());
  if (!checked.plan) return report(io, source->name, checked.problems);
  if (io.wants_json())
    io.print(plan_json(*checked.plan));
  else
    io.out() << plan_text(*checked.plan, io);
  return success;
}

}  // namespace

void add_plan(program& p) {
  verb v(p.app, "plan", "Print what a manifest would run, where, and with which memory");
  const auto file = std::make_shared<std::string>();
  add_manifest_flag(v, *file);
  v.runs(p.io, p.exit, [&io = p.io, file] { return plan(io, *file); });
}

}  // namespace collm::cli
