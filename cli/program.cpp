#include <ostream>

#include "cli/verbs.hpp"

namespace collm::cli {
namespace {

void add_verbs(program& p) {
  add_doctor(p);
  add_validate(p);
  add_plan(p);
  add_up(p);
  add_status(p);
  add_drain(p);
  add_down(p);
  add_audit(p);
  add_chat(p);
  add_infer(p);
  add_adapter(p);
  add_adapt(p);
  add_round(p);
  add_explain(p);
  add_rollback(p);
  add_job(p);
  add_backup(p);
  add_restore(p);
  add_workload(p);
  add_inject(p);
  add_bench(p);
  add_node(p);
  add_join_token(p);
}

/// What CLI11 says of a wrong line, and where help is.
int usage_error(CLI::App& app, console& io, const CLI::ParseError& wrong) {
  const auto verbs = app.get_subcommands();
  std::string help = "collm";
  for (const CLI::App* at = &app; !at->get_subcommands().empty();
       at = at->get_subcommands().front()) {
    help += " " + at->get_subcommands().front()->get_name();
  }
  return io.fail(
      {errc::bad_request, std::string(wrong.what()) + "; " + help + " --help lists what there is"});
}

}  // namespace

int run(int argc, const char* const* argv, console& io, const std::filesystem::path& executable) {
  CLI::App app(
      "CoLLM: serves language models at the edge and keeps fine-tuning their adapters on the same "
      "weights",
      "collm");
  app.require_subcommand(1);
  app.set_version_flag("--version", "collm " COLLM_VERSION);
  int exit = success;
  program p{app, io, exit, executable};
  add_verbs(p);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked, io.out(), io.remarks()), success;
  } catch (const CLI::ParseError& wrong) {
    return usage_error(app, io, wrong);
  }
  return exit;
}

}  // namespace collm::cli
