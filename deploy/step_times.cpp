#include "deploy/step_times.hpp"

#include <algorithm>
#include <chrono>

#include "deploy/bench_rig.hpp"

namespace collm::deploy {
namespace {

using clock = std::chrono::steady_clock;

/// What many clients ask for: all of a row's probabilities are looked at, and some are sorted.
constexpr engine::sampling sampled = {.temperature = 0.8f, .top_p = 0.95f};

/// Mean microseconds of a call, after one to warm up; the clock starts behind it.
template <class F>
result<double> mean_microseconds(std::uint32_t times, engine::phase_clock* watch, F one) {
  if (auto warm = one(); !warm) return warm.failure();
  if (watch != nullptr) watch->reset();
  std::chrono::duration<double, std::micro> took{};
  for (std::uint32_t i = 0; i < times; ++i) {
    const auto each = one();
    if (!each) return each.failure();
    took += *each;
  }
  return took.count() / times;
}

using step_result = result<clock::duration>;

step_result timed_step(bench_rig& on, const std::vector<engine::step_work>& work) {
  const auto start = clock::now();
  const auto said = on.executor().step(work);
  if (!said) return said.failure();
  return clock::now() - start;
}

result<double> decode_step(bench_rig& on, std::uint32_t sequences, std::uint32_t steps,
                           engine::phase_clock* watch) {
  const auto work = on.decoding(sequences);
  if (!work) return work.failure();
  auto found = mean_microseconds(steps - 1, watch, [&] { return timed_step(on, *work); });
  for (const auto& w : *work) on.executor().remove(w.id);
  return found;
}

result<double> prefill_step(bench_rig& on, const engine_bench_options& o,
                            engine::phase_clock* watch) {
  return mean_microseconds(o.runs, watch, [&]() -> step_result {
    const auto id = on.add(o.prefill_tokens, 1);
    if (!id) return id.failure();
    return timed_step(on, {{*id, o.prefill_tokens}});
  });
}

/// One kind of step on one rig; `watch` is empty where the rig has no clock.
using measured_step = result<double> (*)(bench_rig&, const engine_bench_options&, std::uint32_t,
                                         engine::phase_clock*);

result<void> fill(step_row& row, const engine_bench_options& o, measured_step measure) {
  auto plain = bench_rig::make(o, nullptr);
  if (!plain) return plain.failure();
  const auto without = measure(**plain, o, row.sequences, nullptr);
  if (!without) return without.failure();
  row.clockless_microseconds = *without;
  engine::phase_clock watch;
  auto watched = bench_rig::make(o, &watch);
  if (!watched) return watched.failure();
  const auto with = measure(**watched, o, row.sequences, &watch);
  if (!with) return with.failure();
  row.microseconds = *with;
  for (std::size_t p = 0; p < engine::phases_count; ++p)
    row.phases.push_back(watch.seconds(static_cast<engine::phase>(p)) * 1e6 / row.steps);
  return {};
}

result<step_row> decode_row_of(engine_bench_options o, std::uint32_t sequences) {
  step_row row;
  row.name = "decode " + std::to_string(sequences);
  if (o.how.temperature > 0) row.name += ", sampled";
  if (o.adapters > 0) row.name += ", " + std::to_string(o.adapters) + " adapters";
  row.sequences = row.rows = sequences;
  row.adapters = o.adapters;
  row.steps = o.steps - 1;
  o.decode = {sequences};
  const auto done =
      fill(row, o,
           [](bench_rig& on, const engine_bench_options& how, std::uint32_t n,
              engine::phase_clock* watch) { return decode_step(on, n, how.steps, watch); });
  if (!done) return done.failure();
  return row;
}

result<step_row> prefill_row_of(const engine_bench_options& o) {
  step_row row;
  row.name = "prefill " + std::to_string(o.prefill_tokens);
  row.sequences = 1;
  row.rows = o.prefill_tokens;
  row.steps = o.runs;
  const auto done = fill(row, o,
                         [](bench_rig& on, const engine_bench_options& how, std::uint32_t,
                            engine::phase_clock* watch) { return prefill_step(on, how, watch); });
  if (!done) return done.failure();
  return row;
}

}  // namespace

result<std::vector<step_row>> run_step_times(const engine_bench_options& o) {
  if (o.steps < 2) return error{errc::bad_request, "steps must be at least 2: the first warms up"};
  if (o.prefill_tokens > bench_rig::step_rows)
    return error{errc::bad_request, "a step takes at most " + std::to_string(bench_rig::step_rows) +
                                        " rows of a prompt"};
  std::vector<step_row> rows;
  engine_bench_options base = o;
  base.adapters = 0;
  for (const auto n : o.decode) {
    auto row = decode_row_of(base, n);
    if (!row) return row.failure();
    rows.push_back(std::move(*row));
  }
  auto prefill = prefill_row_of(base);
  if (!prefill) return prefill.failure();
  rows.push_back(std::move(*prefill));
  if (!o.decode.empty()) {
    engine_bench_options drawn = base;
    drawn.how = sampled;
    auto row = decode_row_of(drawn, std::ranges::max(o.decode));
    if (!row) return row.failure();
    rows.push_back(std::move(*row));
  }
  for (const auto n : o.decode) {
    if (o.adapters == 0 || n < o.adapters) continue;
    auto row = decode_row_of(o, n);
    if (!row) return row.failure();
    rows.push_back(std::move(*row));
  }
  return rows;
}

}  // namespace collm::deploy
