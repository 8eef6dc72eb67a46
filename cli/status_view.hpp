// A cluster's status (ClusterStatus as JSON) on screen. Pure; what a status lacks is shown as "-".
#pragma once

#include <string>

#include "cli/console.hpp"

namespace collm::cli {

std::string status_text(const json& status, const console& io);

/// Bytes that the ledgers of all processes hold; what is shared on the machine counts once.
double memory_used(const json& status);

/// Of the first engine that tells it; empty before any node has joined.
std::string kernel_path_of(const json& status);

/// How requests ended, over all processes.
struct request_totals {
  double answered = 0, refused = 0, failed = 0, cancelled = 0;
};
request_totals totals(const json& status);

}  // namespace collm::cli
