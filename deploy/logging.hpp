// Where this process's log lines go: standard error, so that standard output stays the verbs'. Set
// once, before any thread.
#pragma once

#include <string>
#include <vector>

namespace collm::deploy {

/// Names that `--log-level` takes, chattiest first.
std::vector<std::string> log_levels();

/// `level`: one of log_levels().
void start_logging(const std::string& level);

}  // namespace collm::deploy
