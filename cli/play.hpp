// Plays a workload against a running cluster through the sites' gateways and reports. Shared by up
// --demo and inject.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/workload.hpp"
#include "cli/cluster_client.hpp"
#include "cli/console.hpp"
#include "messages/result.hpp"

namespace collm::cli {

struct played {
  json report;       ///< answered, refused, failed, attainment, latencies; keys are only ever added
  std::string text;  ///< the block of docs, for people
};

/// Open loop: each request at its own time to its site's gateway, whatever the others do, with
/// the key and authority of `as`. SLOs: those of the cluster's status.
/// cancelled: `over` held before the end (bench::play_options).
result<played> play(const bench::workload& what, const json& status, const cluster_flags& as = {},
                    const std::function<bool()>& over = {});

/// The demo of `seconds` at `rate` requests a second over both sites.
result<bench::workload> demo_workload(double seconds, double rate);

/// Prints the report (and writes it to `file` unless empty).
result<void> show_report(console& io, const played& p, const std::string& file);

}  // namespace collm::cli
