// Which manifest a verb means: -f FILE, or the built-in one. Main thread.
#pragma once

#include <filesystem>
#include <string>

#include "cli/console.hpp"
#include "cli/flags.hpp"
#include "deploy/plan.hpp"
#include "messages/result.hpp"

namespace collm::cli {

struct manifest_source {
  std::string yaml;
  std::string name;                ///< as it stands in messages
  std::filesystem::path base_dir;  ///< what its relative paths start from
};

/// `file` empty: the built-in one, paths from the current folder; "-": standard input.
result<manifest_source> read_manifest(const std::string& file);

void add_manifest_flag(verb& to, std::string& file);

/// All problems, one a line; gives the exit code.
int report(console& io, const std::string& name, const std::vector<deploy::problem>& problems);

}  // namespace collm::cli
