// What training costs requests, and what requests cost training: `collm bench co-run`. One replica
// and engine with a trainer, in this process; training alone, then the capacity of the engine
// without training, then half of that load with training off and on in turns.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

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
  double share = 1;            ///< of time that training may take
  std::uint32_t pairs = 3;     ///< of parts with training off and on, the same arrivals in both
  std::uint32_t seconds = 20;  ///< of a part
  std::uint64_t seed = 1;
};

/// Requests of one kind of part.
struct co_run_side {
  std::uint32_t requests = 0, good = 0, refused = 0;
  double ttft_ms_p50 = 0, tpot_ms_p50 = 0, tpot_ms_p95 = 0;  ///< of those answered
  double attainment() const { return requests == 0 ? 1 : double(good) / requests; }
};

struct co_run {
  double unloaded_tpot_ms = 0, tpot_slo_ms = 0;
  double capacity_per_s = 0, rate_per_s = 0;
  double alone_tokens_per_s = 0;   ///< training with nothing to serve
  double idle_share = 0;           ///< of the parts with training off: no serving step runs
  double beside_tokens_per_s = 0;  ///< of the parts with training on
  double unit_share = 0;           ///< of their time, spent in units
  double longest_unit_ms = 0;      ///< largest bound of a unit in them
  std::uint64_t no_time = 0, no_credit = 0, yields = 0;
  co_run_side off, on;
  double allowed_tokens_per_s() const { return idle_share * alone_tokens_per_s; }
  double ratio() const {
    return allowed_tokens_per_s() > 0 ? beside_tokens_per_s / allowed_tokens_per_s() : 0;
  }
};

/// Takes 2 * pairs * seconds and about a minute and a half.
result<co_run> run_co_run(const co_run_options& o);

}  // namespace collm::deploy
