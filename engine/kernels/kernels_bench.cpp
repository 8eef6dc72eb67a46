// Micro-benchmarks of the kernels on each path: `kernels_bench --benchmark_filter=gemm`. CPU time,
// one thread.
#include <benchmark/benchmark.h>

#include <vector>

#include "engine/kernels/kernels.hpp"

namespace collm::engine {
namespace {

/// SmolLM2's widest product by default: [3072, 576], one outlier column in sixteen.
struct product {
  product(std::uint32_t rows, std::uint32_t in, std::uint32_t out) : x(in, 0.5f) {
    weights = {.in = in, .out = out, .hi = in / 16 / 16 * 16 + 16};
    const std::size_t outs = std::size_t{weights.tiles_count()} * tile_outputs,
                      panels = (rows + panel_rows - 1) / panel_rows;
    tiles.assign(weights.tiles_count() * weights.tile_bytes(), 3);
    for (std::uint32_t j = 0; j < weights.hi; ++j) index.push_back(j * 8);
    scale.assign(outs, 0.01f), correction.assign(outs, 0);
    weights.tiles = tiles.data(), weights.hi_index = index.data();
    weights.scale = scale.data(), weights.correction = correction.data();
    input.lo_stride = std::size_t{weights.groups()} * panel_bytes;
    input.hi_stride = std::size_t{weights.hi_groups()} * panel_bytes;
    lo.assign(panels * input.lo_stride, 130), hi.assign(panels * input.hi_stride, 130);
    row_scale.assign(rows, 0.1f), y.resize(std::size_t{out} * rows);
    input.lo = lo.data(), input.hi = hi.data(), input.scale = row_scale.data();
  }
  std::vector<std::int8_t> tiles;
  std::vector<std::uint32_t> index;
  std::vector<float> scale;
  std::vector<std::int32_t> correction;
  std::vector<std::uint8_t> lo, hi;
  std::vector<float> row_scale, y, x;
  linear_s8 weights;
  quantised_rows input;
};

const kernel_table& path(const benchmark::State& state) {
  const auto at = static_cast<std::size_t>(state.range(0));
  return *kernel_paths()[at < kernel_paths().size() ? at : kernel_paths().size() - 1];
}

void gemm(benchmark::State& state) {
  const auto rows = static_cast<std::uint32_t>(state.range(1)),
             in = static_cast<std::uint32_t>(state.range(2)),
             out = static_cast<std::uint32_t>(state.range(3));
  product p(rows, in, out);
  for (auto _ : state) {
    path(state).gemm(p.input, rows, p.weights, 0, out, p.y.data(), out);
    benchmark::ClobberMemory();
  }
  state.SetLabel(path(state).name);
  state.counters["Gop/s"] =
      benchmark::Counter(2e-9 * rows * in * out, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(gemm)
    ->ArgNames({"path", "rows", "in", "out"})
    ->ArgsProduct({{0, 1, 2}, {1, 8, 32, 512}, {576}, {3072}});
BENCHMARK(gemm)
    ->ArgNames({"path", "rows", "in", "out"})
    ->ArgsProduct({{0}, {1, 8, 32, 512}, {1536}, {576}});
BENCHMARK(gemm)->ArgNames({"path", "rows", "in", "out"})->ArgsProduct({{0}, {1}, {576}, {49152}});

void quantise(benchmark::State& state) {
  product p(1, static_cast<std::uint32_t>(state.range(1)), 1);
  for (auto _ : state) {
    path(state).quantise(p.x.data(), p.weights, p.input, 0);
    benchmark::ClobberMemory();
  }
  state.SetLabel(path(state).name);
}
BENCHMARK(quantise)->ArgNames({"path", "in"})->ArgsProduct({{0, 1, 2}, {576, 1536}});

void attend(benchmark::State& state) {
  const auto rows = static_cast<std::uint32_t>(state.range(1)),
             position = static_cast<std::uint32_t>(state.range(2));
  constexpr std::uint32_t dim = 64, group = 3;
  const std::uint32_t count = (position + rows + block_positions - 1) / block_positions;
  std::vector<half> pages(std::size_t{2} * count * block_positions * dim);
  std::vector<float> q(rows * group * dim, 0.1f), out(q.size());
  std::vector<std::uint32_t> blocks;
  for (std::uint32_t b = 0; b < count; ++b) blocks.push_back(b);
  std::vector<float> scratch(attention_scratch_floats(position + rows, dim));
  attention_task task;
  task.q = q.data(), task.out = out.data(), task.q_stride = task.out_stride = group * dim;
  task.rows = rows, task.group = group, task.head_dim = dim, task.position = position;
  task.blocks = blocks.data(), task.keys = pages.data(),
  task.values = pages.data() + block_positions * dim;
  task.halves = true;
  task.block_stride = std::size_t{2} * block_positions * dim;
  task.scratch = scratch.data();
  for (auto _ : state) {
    path(state).attend(task);
    benchmark::ClobberMemory();
  }
  state.SetLabel(path(state).name);
  state.counters["Gop/s"] = benchmark::Counter(4e-9 * rows * group * dim * (position + rows / 2.0),
                                               benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(attend)->ArgNames({"path", "rows", "position"})->ArgsProduct({{0, 1, 2}, {1, 32}, {480}});

}  // namespace
}  // namespace collm::engine

BENCHMARK_MAIN();
