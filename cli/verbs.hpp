// The verbs of `collm`, one file each: it declares flags, and runs one call. Main thread.
#pragma once

#include <filesystem>

#include "cli/console.hpp"
#include "cli/flags.hpp"

namespace collm::cli {

/// What a verb is added to: the program, the console, the exit code that it sets, and the path of
/// this binary.
struct program {
  CLI::App& app;
  console& io;
  int& exit;
  std::filesystem::path executable;
};

void add_doctor(program& p);
void add_validate(program& p);
void add_plan(program& p);
void add_up(program& p);
void add_node(program& p);
void add_node_members(program& p, CLI::App& group);  ///< `node revoke`, `node rotate`
void add_join_token(program& p);
void add_status(program& p);
void add_drain(program& p);
void add_down(program& p);
void add_audit(program& p);
void add_chat(program& p);
void add_infer(program& p);
void add_adapter(program& p);
void add_adapter_export(program& p, CLI::App& group);  ///< `adapter export`, below `adapter`
void add_round(program& p);
void add_explain(program& p);
void add_rollback(program& p);
void add_job(program& p);
void add_adapt(program& p);
void add_backup(program& p);
void add_restore(program& p);
void add_workload(program& p);
void add_inject(program& p);
void add_bench(program& p);
void add_bench_engine(program& p, CLI::App& group);  ///< `bench engine`, below `bench`
void add_bench_step(program& p, CLI::App& group);    ///< `bench step`
void add_bench_co_run(program& p, CLI::App& group);  ///< `bench co-run`

/// Adds all verbs, parses, runs one. Never throws; gives the exit code.
int run(int argc, const char* const* argv, console& io, const std::filesystem::path& executable);

}  // namespace collm::cli
