// The product back through the frozen int8 base beside the forward product of the same shape, and
// the dense products of LoRA and attention: `kernels_train_bench --benchmark_filter=back`. CPU
// time, one thread.
#include <benchmark/benchmark.h>

#include <vector>

#include "engine/kernels/training_kernels.hpp"
#include "engine/model/base_weights.hpp"

namespace collm::engine {
namespace {

/// Weights [out, in] with one input in sixteen twice, rows of activations and of gradients.
struct product_data {
  product_data(std::uint32_t rows, std::uint32_t in, std::uint32_t out) : dy(out, 0.5f) {
    weights = {.in = in, .out = out, .hi = outlier_columns(in)};
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
    gradients.panel_stride = gradient_panel_bytes(out);
    gradients.scale_stride = stretches(out);
    bytes.assign(panels * gradients.panel_stride, 130);
    scales.assign(std::size_t{rows} * stretches(out), 0.1f);
    gradients.bytes = bytes.data(), gradients.scale = scales.data();
    dx.resize(std::size_t{rows} * in);
  }
  std::vector<std::int8_t> tiles;
  std::vector<std::uint32_t> index;
  std::vector<float> scale;
  std::vector<std::int32_t> correction;
  std::vector<std::uint8_t> lo, hi, bytes;
  std::vector<float> row_scale, y, dy, scales, dx;
  linear_s8 weights;
  quantised_rows input;
  gradient_rows gradients;
};

std::size_t path(const benchmark::State& state) {
  return std::min<std::size_t>(static_cast<std::size_t>(state.range(0)), kernel_paths().size() - 1);
}

void count(benchmark::State& state, double operations) {
  state.SetLabel(kernel_paths()[path(state)]->name);
  state.counters["Gop/s"] =
      benchmark::Counter(1e-9 * operations, benchmark::Counter::kIsIterationInvariantRate);
}

struct sizes {
  explicit sizes(const benchmark::State& state)
      : rows(static_cast<std::uint32_t>(state.range(1))),
        in(static_cast<std::uint32_t>(state.range(2))),
        out(static_cast<std::uint32_t>(state.range(3))) {}
  std::uint32_t rows, in, out;
  double operations() const { return 2.0 * rows * in * out; }
};

void forward(benchmark::State& state) {
  const sizes n(state);
  product_data p(n.rows, n.in, n.out);
  for (auto _ : state) {
    kernel_paths()[path(state)]->gemm(p.input, n.rows, p.weights, 0, n.out, p.y.data(), n.out);
    benchmark::ClobberMemory();
  }
  count(state, n.operations());
}

void back(benchmark::State& state) {
  const sizes n(state);
  product_data p(n.rows, n.in, n.out);
  for (auto _ : state) {
    training_paths()[path(state)]->gemm_back(p.gradients, n.rows, p.weights, 0, n.in, p.dx.data(),
                                             n.in);
    benchmark::ClobberMemory();
  }
  count(state, n.operations());
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"path", "rows", "in", "out"});
  for (int rows : {16, 64, 256})
    for (int at : {0, 1, 2})
      if (at == 0 || rows == 256) {
        b->Args({at, rows, 576, 3072});
        b->Args({at, rows, 1536, 576});
        b->Args({at, rows, 576, 960});
      }
  b->Args({0, 64, 576, 49152});
}
BENCHMARK(forward)->Apply(shapes);
BENCHMARK(back)->Apply(shapes);

void quantise_gradient(benchmark::State& state) {
  product_data p(4, 16, static_cast<std::uint32_t>(state.range(1)));
  for (auto _ : state) {
    training_paths()[path(state)]->quantise_gradient(p.dy.data(), p.weights, p.gradients, 0);
    benchmark::ClobberMemory();
  }
  state.SetLabel(kernel_paths()[path(state)]->name);
}
BENCHMARK(quantise_gradient)->ArgNames({"path", "out"})->ArgsProduct({{0, 1, 2}, {576, 3072}});

/// rows x depth times depth x columns; `turned`: a lies [depth, rows], as in the gradients of A.
void dense(benchmark::State& state) {
  const auto rows = static_cast<std::uint32_t>(state.range(1)),
             depth = static_cast<std::uint32_t>(state.range(2)),
             columns = static_cast<std::uint32_t>(state.range(3));
  std::vector<float> a(std::size_t{rows} * depth, 0.5f), b(std::size_t{depth} * columns, 0.5f),
      c(std::size_t{rows} * columns);
  float_product p;
  p.a = a.data(), p.b = b.data(), p.c = c.data();
  p.a_row = state.range(4) != 0 ? 1 : depth, p.a_column = state.range(4) != 0 ? rows : 1;
  p.b_row = p.c_row = columns, p.rows = rows, p.depth = depth, p.columns = columns;
  for (auto _ : state) {
    training_paths()[path(state)]->product(p);
    benchmark::ClobberMemory();
  }
  count(state, 2.0 * rows * depth * columns);
}
BENCHMARK(dense)
    ->ArgNames({"path", "rows", "depth", "columns", "turned"})
    ->Args({0, 256, 576, 24, 0})  // x At of q, k and v
    ->Args({0, 256, 1536, 8, 0})  // dY B of gate
    ->Args({0, 256, 8, 1536, 0})  // T Bt
    ->Args({0, 8, 256, 1536, 1})  // Tt dY
    ->Args({0, 64, 64, 256, 0})   // Q Kt
    ->Args({0, 64, 256, 64, 0})   // P V
    ->Args({0, 256, 64, 64, 1})   // dSt Q
    ->Args({1, 64, 64, 256, 0})
    ->Args({2, 64, 64, 256, 0});

}  // namespace
}  // namespace collm::engine

BENCHMARK_MAIN();
