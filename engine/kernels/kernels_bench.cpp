// Micro-benchmarks of the kernels on each path: `kernels_bench --benchmark_filter=gemm`. CPU time,
// one thread.
#include <benchmark/benchmark.h>

#include <vector>

#include "engine/kernels/kernels.hpp"

namespace collm::engine {
namespace {

/// SmolLM2's widest product by default: [3072, 576], one outlier column in sixteen.
struct product {
  product(std::uint32_t rows, std::uint32_t in, std::uint32_t out)
      : hi(in / 16 / 16 * 16 + 16),
        w(std::size_t{in} * out, 3),
        w_hi(std::size_t{hi} * out, 3),
        index(hi),
        scale(out, 0.01f),
        correction(out),
        lo((in + 63) / 64 * 64 * rows, 130),
        hi_bytes((hi + 63) / 64 * 64 * rows, 130),
        row_scale(rows + 16, 0.1f),
        y(std::size_t{out} * rows),
        scratch(gemm_scratch_bytes(in, hi)),
        x(in, 0.5f) {
    for (std::uint32_t j = 0; j < hi; ++j) index[j] = j * 8;
    weights = {in, out, hi, w.data(), w_hi.data(), index.data(), scale.data(), correction.data()};
    input = {lo.data(), hi_bytes.data(), row_scale.data(), (in + 63) / 64 * 64,
             (hi + 63) / 64 * 64};
  }
  std::uint32_t hi;
  std::vector<std::int8_t> w, w_hi;
  std::vector<std::uint32_t> index;
  std::vector<float> scale;
  std::vector<std::int32_t> correction;
  std::vector<std::uint8_t> lo, hi_bytes;
  std::vector<float> row_scale, y;
  std::vector<std::uint8_t> scratch;
  std::vector<float> x;
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
    path(state).gemm(p.input, rows, p.weights, 0, out, p.y.data(), out, p.scratch.data());
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
  std::vector<float> pages(std::size_t{2} * count * block_positions * dim, 0.1f),
      q(rows * group * dim, 0.1f), out(q.size());
  std::vector<std::uint32_t> blocks;
  for (std::uint32_t b = 0; b < count; ++b) blocks.push_back(b);
  std::vector<float> scratch(attention_scratch_floats(position + rows, dim));
  attention_task task;
  task.q = q.data(), task.out = out.data(), task.q_stride = task.out_stride = group * dim;
  task.rows = rows, task.group = group, task.head_dim = dim, task.position = position;
  task.blocks = blocks.data(), task.keys = pages.data(),
  task.values = pages.data() + block_positions * dim;
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
