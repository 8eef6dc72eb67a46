// What a played workload shows: counts, SLO attainment, latencies, correctness; as the block and
// the JSON keys that users of vLLM's serving benchmark know, and ours beside them. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/player.hpp"
#include "bench/workload.hpp"

namespace collm::bench {

/// Bounds on one request, ms; 0: not bounded. A request is good only if all stated ones hold.
struct goodput_slo {
  double ttft_ms = 0, tpot_ms = 0, e2el_ms = 0;
};

struct report_options {
  goodput_slo slo;
  std::vector<std::string> metrics = {"ttft", "tpot", "itl", "e2el"};
  std::vector<double> percentiles = {50, 99};
};

/// Keys are only ever added.
nlohmann::json serving_report(const workload& what, const play_result& played,
                              const report_options& options);

/// The block for people, from a report.
std::string report_block(const nlohmann::json& report, const report_options& options);

/// Linear interpolation between closest ranks, as numpy's default; 0 of nothing. q in percent.
double percentile(std::vector<double> values, double q);

}  // namespace collm::bench
