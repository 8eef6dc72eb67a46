// Where each microsecond of an engine step goes: `collm bench step`. Drives the executor by hand,
// on the thread that calls.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "deploy/engine_bench.hpp"
#include "engine/phase_clock.hpp"

namespace collm::deploy {

/// One kind of step, told by its mean. Phases are of the thread that steps, and within the
/// forward pass of the team's last member; what it waits for the others is one of them.
struct step_row {
  std::string name;  ///< "decode 32", "prefill 512", "decode 32, sampled"
  std::uint32_t sequences = 0, rows = 0, adapters = 0, steps = 0;
  double microseconds = 0;            ///< a step, wall time seen from outside
  double clockless_microseconds = 0;  ///< the same without a clock: what watching costs
  std::vector<double> phases;         ///< microseconds, in order of engine::phase_names
  /// Of the whole step: time that no phase covers.
  double unseen() const {
    double seen = 0;
    for (const double p : phases) seen += p;
    return microseconds - seen;
  }
};

/// A row of decoding for each of `decode`, one of prefill, one of the widest decoding that samples
/// (temperature 0.8, top-p 0.95; all others are greedy), and, where `adapters` is not 0, the same
/// of decoding with them.
result<std::vector<step_row>> run_step_times(const engine_bench_options& options);

}  // namespace collm::deploy
