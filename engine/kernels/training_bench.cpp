// Training's products for kernels_bench: dX through the frozen tiles, and LoRA's dense products.
#include <memory>

#include "engine/kernels/kernels_bench.hpp"
#include "engine/kernels/training_kernels.hpp"

namespace collm::engine::benching {
namespace {

/// The training path that goes with a serving path.
const training_table& training_of(const kernel_table& k) {
  std::size_t i = 0;
  while (kernel_paths()[i] != &k) ++i;
  return *training_paths()[i];
}

/// Gradient rows with memory of their own.
struct gradients {
  gradients(std::uint32_t rows, const linear_s8& w)
      : bytes((rows + panel_rows - 1) / panel_rows * gradient_panel_bytes(w.out)),
        scales(std::size_t{rows} * stretches(w.out)) {
    view = {bytes.data(), scales.data(), gradient_panel_bytes(w.out), stretches(w.out)};
    std::mt19937 random(8);
    for (std::uint32_t r = 0; r < rows; ++r) {
      row = naive::random_floats(random, w.out);
      training_kernels().quantise_gradient(row.data(), w, view, r, tail::rounded);
    }
  }
  std::vector<std::uint8_t> bytes;
  std::vector<float> scales, row;
  gradient_rows view;
};

void run_back(bench& on, const named_product& p, std::uint32_t rows) {
  const auto pool = std::make_shared<weights_pool>(p);
  const auto dy = std::make_shared<gradients>(rows, pool->first.view);
  bench_case c{.kernel = "gemm back (dX)", .shape = shape_of(rows, p), .counted = unit::int8};
  c.operations = 2.0 * rows * p.in * p.out;
  c.bytes = static_cast<double>(pool->first.tiles.size());
  c.make = [=](const kernel_table& k, std::uint32_t thread) -> call {
    auto dx = std::make_shared<std::vector<float>>(std::size_t{rows} * p.in);
    return [=, &of = training_of(k), at = thread * pool->count / threads_most]() mutable {
      auto w = pool->first.view;
      w.tiles = pool->copies[at++ % pool->count].data();
      of.gemm_back(dy->view, rows, w, 0, p.in, dx->data(), p.in);
    };
  };
  const auto dx = std::make_shared<std::vector<double>>(p.in);
  c.naive = [=] { naive::gemm_back_row(dy->row.data(), pool->first, dx->data()); };
  c.naive_fraction = 1.0 / rows;
  on.run(c);
}

struct dense_shape {
  const char* what;
  std::uint32_t rows, depth, columns;
  bool turned = false;  ///< a lies [depth, rows]: contracts over tokens
};
constexpr std::uint32_t tokens = 256;
constexpr dense_shape dense_shapes[] = {
    {"x At of q, k and v", tokens, hidden, 3 * rank},
    {"T Bt of gate", tokens, rank, ffn},
    {"dT = dY B of gate", tokens, ffn, rank},
    {"gradient of A of q, k and v", 3 * rank, tokens, hidden, true},
    {"gradient of B of gate", rank, tokens, ffn, true},
    {"Q Kt of one head", 64, head_dim, tokens},
    {"P V of one head", 64, tokens, head_dim}};

void run_dense(bench& on, const dense_shape& n) {
  std::mt19937 random(9);
  const auto a = std::make_shared<std::vector<float>>(
      naive::random_floats(random, std::size_t{n.rows} * n.depth));
  const auto b = std::make_shared<std::vector<float>>(
      naive::random_floats(random, std::size_t{n.depth} * n.columns));
  const auto product = [=](std::vector<float>& to) {
    float_product p;
    p.a = a->data(), p.b = b->data(), p.c = to.data();
    p.a_row = n.turned ? 1 : n.depth, p.a_column = n.turned ? n.rows : 1;
    p.b_row = p.c_row = n.columns, p.rows = n.rows, p.depth = n.depth, p.columns = n.columns;
    return p;
  };
  bench_case c{.kernel = "dense product",
               .shape = std::string(n.what) + ", " + std::to_string(n.rows) + " x " +
                        std::to_string(n.depth) + " x " + std::to_string(n.columns),
               .counted = unit::f32};
  c.operations = 2.0 * n.rows * n.depth * n.columns;
  c.make = [=](const kernel_table& k, std::uint32_t) -> call {
    const auto to = std::make_shared<std::vector<float>>(std::size_t{n.rows} * n.columns);
    return [=, &of = training_of(k)] { of.product(product(*to)); };
  };
  const auto to = std::make_shared<std::vector<float>>(std::size_t{n.rows} * n.columns);
  c.naive = [=] { naive::dense_row(product(*to), 0); };
  c.naive_fraction = 1.0 / n.rows;
  on.run(c);
}

}  // namespace

void run_training(bench& on) {
  for (const auto& p : products) {
    if (p.out == vocabulary)
      run_back(on, p, 32);
    else
      for (const std::uint32_t rows : {16u, 64u, tokens}) run_back(on, p, rows);
  }
  for (const auto& n : dense_shapes) run_dense(on, n);
}

}  // namespace collm::engine::benching
