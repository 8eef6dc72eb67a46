#include "deploy/engine_bench.hpp"

#include <algorithm>
#include <chrono>

#include "deploy/bench_rig.hpp"

namespace collm::deploy {
namespace {

using clock = std::chrono::steady_clock;

double seconds_since(clock::time_point start) {
  return std::chrono::duration<double>(clock::now() - start).count();
}

/// Tokens a second.
result<double> prefill(bench_rig& on, const engine_bench_options& o) {
  const auto id = on.add(o.prefill_tokens, 1);
  if (!id) return id.failure();
  const auto start = clock::now();
  if (auto done = on.read_prompts(); !done) return done.failure();
  return o.prefill_tokens / seconds_since(start);
}

result<double> decode(bench_rig& on, const engine_bench_options& o, std::uint32_t sequences) {
  const auto work = on.decoding(sequences);
  if (!work) return work.failure();
  const auto start = clock::now();
  for (std::uint32_t i = 0; i < o.steps; ++i) {
    const auto said = on.executor().step(*work);
    if (!said) return said.failure();
  }
  return sequences * o.steps / seconds_since(start);
}

template <class F>
result<rates> measure(std::uint32_t runs, F one_run) {
  rates out;
  for (std::uint32_t i = 0; i <= runs; ++i) {
    const result<double> rate = one_run();
    if (!rate) return rate.failure();
    if (i > 0) out.push_back(*rate);  // the first one warms up
  }
  return out;
}

}  // namespace

double median(rates values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

result<engine_bench> run_engine_bench(const engine_bench_options& o) {
  engine_bench out;
  out.kernel_path = engine::kernel_path();
  const auto start = clock::now();
  auto on = bench_rig::make(o, nullptr);
  if (!on) return on.failure();
  out.open_seconds = seconds_since(start);
  auto read = measure(o.runs, [&] { return prefill(**on, o); });
  if (!read) return read.failure();
  out.prefill_tokens_per_s = *read;
  for (const auto n : o.decode) {
    auto row = measure(o.runs, [&] { return decode(**on, o, n); });
    if (!row) return row.failure();
    out.decode.push_back({n, *row});
  }
  out.memory = (*on)->executor().memory();
  return out;
}

}  // namespace collm::deploy
