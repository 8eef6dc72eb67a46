// What training costs requests, and what requests cost training: `collm bench co-run`. One replica
// and engine with a trainer, in this process; what a request is like alone, where requests are
// rare; training alone, then the capacity of the engine without training, then half of that load
// with training off and on in turns.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "coordinator/unit_times.hpp"
#include "deploy/capacity_search.hpp"
#include "engine/engine.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

struct co_run_options {
  std::filesystem::path model, cache_dir;
  std::uint32_t threads = 1;  ///< of the engine, its trainer included
  double tpot_factor = 1.1;   ///< the promise, over the median of a request alone
  double ttft_ms = 2000;
  std::uint32_t prompt_tokens = 64, answer_tokens = 24;  ///< means; half to one and a half of it
  std::uint32_t sample_tokens = 256, batch_tokens = 512;
  double share = 1;         ///< of time that training may take
  std::uint32_t pairs = 4;  ///< of parts with training off and on, the same arrivals in both
  /// The whole of it. Fewer than 12 leave trials of less than 30 requests, which decide nothing.
  double minutes = 12;
  std::uint64_t seed = 1;
};

/// Requests of one kind of part.
struct co_run_side {
  std::uint32_t requests = 0, good = 0, refused = 0;
  double ttft_ms_p50 = 0, tpot_ms_p50 = 0, tpot_ms_p95 = 0;  ///< of those answered
  double attainment() const { return requests == 0 ? 1 : double(good) / requests; }
  /// Standard error of the attainment after Agresti and Coull (1998): two more that were good and
  /// two that were not, so it is never 0 because all were good.
  double attainment_error() const {
    const double n = requests + 4.0, p = (good + 2.0) / n;
    return std::sqrt(p * (1 - p) / n);
  }
};

struct co_run {
  double unloaded_tpot_ms = 0, tpot_slo_ms = 0;
  found_capacity capacity;
  double rate_per_s = 0;           ///< half of it
  double part_seconds = 0;         ///< of each of the 2 * pairs parts
  double alone_tokens_per_s = 0;   ///< training with nothing to serve
  double idle_share = 0;           ///< of the parts with training off: no serving step runs
  double beside_tokens_per_s = 0;  ///< of the parts with training on
  double unit_share = 0;           ///< of their time, spent in units
  double longest_unit_ms = 0;      ///< largest bound of a unit in them
  coordinator::unit_sizes units;   ///< as the node's probe found them
  std::uint64_t units_run = 0, units_long = 0;  ///< since start; bound above maxUnit
  std::uint64_t no_time = 0, no_credit = 0, yields = 0;
  co_run_side off, on;
  double allowed_tokens_per_s() const { return idle_share * alone_tokens_per_s; }
  double points_lost() const { return 100 * (off.attainment() - on.attainment()); }
  double points_error() const {
    return 100 * std::hypot(off.attainment_error(), on.attainment_error());
  }
  double ratio() const {
    return allowed_tokens_per_s() > 0 ? beside_tokens_per_s / allowed_tokens_per_s() : 0;
  }
};

/// Takes `minutes`, and at most half as many again where trials are slow to end. Conflict: no rate
/// keeps its promises, so there is no capacity and nothing to halve.
result<co_run> run_co_run(const co_run_options& o);

}  // namespace collm::deploy
