// The demo of a cluster that learns: what its sites answer right before, how it serves while its
// adapters train, and what they answer right after, beside the control that learned alone.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "cli/cluster_client.hpp"
#include "cli/console.hpp"
#include "cli/play.hpp"

namespace collm::cli {

struct learning_demo {
  std::string adapter;                ///< the federated one
  bool alone = false;                 ///< "<adapter>-alone" is trained beside it
  double serving_seconds = 0;         ///< of light load while it learns
  double serving_rate = 0;            ///< requests a second, both sites together
  std::uint32_t first_questions = 0;  ///< a site, of a version 0: untaught answers are long
  std::uint32_t questions = 0;        ///< a site, of every other; both of the report split
  std::function<bool()> over = {};    ///< once it holds the demo ends as cancelled; any thread
};

/// report.exact_match: {site: {before, after, alone}} in percent; report.alone_failed: why there is
/// no `alone`; report.answered_by: {before, after}, the versions that served then; report.rounds,
/// report.promoted: of this run, whatever the state of an earlier one holds; the other keys are the
/// serving report of the time in which it learned.
result<played> play_learning(console& io, const cluster_client& head, const json& status,
                             const learning_demo& how);

}  // namespace collm::cli
