// Every kernel on every instruction path, on one thread and on two, beside its naive twin and the
// peaks of this machine, all measured in this run. Prints JSON; `./dev bench kernels` makes the
// table of it. Weights, keys and factors are read from pools beyond the caches, as in a step.
//   kernels_bench [SECONDS of a round: 0.02]
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>

#include "engine/kernels/kernels_bench.hpp"
#include "engine/sample/sampler.hpp"

namespace collm::engine::benching {
namespace {

// -- int8 products

void run_products(bench& on, const named_product& p) {
  const auto pool = std::make_shared<weights_pool>(p);
  const std::uint32_t hi = high_columns(p);
  for (const std::uint32_t rows : {1u, 2u, 4u, 8u, 16u, 32u, 128u, 512u}) {
    if (p.out == vocabulary && rows > 32) continue;  // logits are wanted of last rows only
    if (p.four_bit && (rows == 2 || rows == 4)) continue;
    const auto x = std::make_shared<naive::activations>(rows, p.in, hi);
    std::mt19937 random(2);
    for (std::uint32_t r = 0; r < rows; ++r) {
      auto row = naive::random_floats(random, p.in);
      kernels().quantise(row.data(), pool->first.view, x->view, r);
    }
    bench_case c{.kernel = "gemm", .shape = shape_of(rows, p), .counted = unit::int8};
    c.operations = 2.0 * rows * (p.in + hi) * p.out;
    c.bytes = static_cast<double>(pool->first.tiles.size());
    c.make = [=](const kernel_table& k, std::uint32_t thread) -> call {
      auto y = std::make_shared<std::vector<float>>(std::size_t{rows} * p.out);
      return [=, &k, at = thread * pool->count / threads_most]() mutable {
        auto w = pool->first.view;
        w.tiles = pool->copies[at++ % pool->count].data();
        k.gemm(x->view, rows, w, 0, p.out, y->data(), p.out);
      };
    };
    const auto y = std::make_shared<std::vector<double>>(p.out);
    c.naive = [=] { naive::gemm_row(*x, pool->first, 0, y->data()); };
    c.naive_fraction = 1.0 / rows;
    on.run(c);
  }
}

// -- rows

/// Memory of a kernel over one row.
struct row_memory {
  explicit row_memory(std::uint32_t n, bool whole = false) {
    std::mt19937 random(3);
    x = naive::random_floats(random, n), y = naive::random_floats(random, n);
    out.resize(n);
    exact.resize(n);
    shape = naive::random_product(random, n, 1, whole ? n : outlier_columns(n));
    rows = std::make_unique<naive::activations>(1, n, shape.view.hi);
  }
  std::vector<float> x, y, out;
  std::vector<double> exact;
  std::vector<std::int32_t> integers;
  naive::product shape;
  std::unique_ptr<naive::activations> rows;
};

/// A kernel over a row of n numbers that stays in the first cache.
template <class F, class N>
void run_row(bench& on, const std::string& kernel, const std::string& shape, std::uint32_t n,
             double operations, bool whole, F f, N twin) {
  bench_case c{.kernel = kernel, .shape = shape, .counted = unit::f32, .operations = operations};
  c.make = [=](const kernel_table& k, std::uint32_t) -> call {
    return [m = std::make_shared<row_memory>(n, whole), &k, f] { f(k, *m); };
  };
  c.naive = [m = std::make_shared<row_memory>(n, whole), twin] { twin(*m); };
  on.run(c);
}

void run_rows(bench& on) {
  const auto quantise = [](const kernel_table& k, row_memory& m) {
    k.quantise(m.x.data(), m.shape.view, m.rows->view, 0);
  };
  const auto quantise_twin = [](row_memory& m) {
    naive::quantise(m.x.data(), m.shape.view, m.integers);
  };
  run_row(on, "quantise", "576 inputs, 48 outliers", hidden, 6.0 * hidden, false, quantise,
          quantise_twin);
  run_row(on, "quantise", "1536 inputs, all with high bits", ffn, 8.0 * ffn, true, quantise,
          quantise_twin);
  run_row(
      on, "RMSNorm", "576", hidden, 4.0 * hidden, false,
      [](const kernel_table& k, row_memory& m) {
        k.rms_norm(m.x.data(), m.y.data(), hidden, 1e-5f, m.out.data());
      },
      [](row_memory& m) { naive::rms_norm(m.x.data(), m.y.data(), hidden, 1e-5, m.exact.data()); });
  run_row(
      on, "RMSNorm + quantise", "576", hidden, 10.0 * hidden, false,
      [](const kernel_table& k, row_memory& m) {
        k.rms_norm(m.x.data(), m.y.data(), hidden, 1e-5f, m.out.data());
        k.quantise(m.out.data(), m.shape.view, m.rows->view, 0);
      },
      [](row_memory& m) {
        naive::rms_norm(m.x.data(), m.y.data(), hidden, 1e-5, m.exact.data());
        for (std::uint32_t i = 0; i < hidden; ++i) m.out[i] = static_cast<float>(m.exact[i]);
        naive::quantise(m.out.data(), m.shape.view, m.integers);
      });
  constexpr std::uint32_t turned = (heads + kv_heads) * head_dim;
  run_row(
      on, "rotary", "12 heads of 64", turned, 3.0 * turned, false,
      [](const kernel_table& k, row_memory& m) {
        for (std::uint32_t h = 0; h < heads + kv_heads; ++h)
          k.rotate(m.x.data() + std::size_t{h} * head_dim, m.y.data(), m.y.data() + head_dim,
                   head_dim);
      },
      [](row_memory& m) {
        for (std::uint32_t h = 0; h < heads + kv_heads; ++h)
          naive::rotate(m.x.data() + std::size_t{h} * head_dim, m.y.data(), m.y.data() + head_dim,
                        head_dim, m.exact.data());
      });
  run_row(
      on, "SwiGLU", "1536", ffn, 20.0 * ffn, false,
      [](const kernel_table& k, row_memory& m) {
        k.swiglu(m.x.data(), m.y.data(), ffn, m.out.data());
      },
      [](row_memory& m) { naive::swiglu(m.x.data(), m.y.data(), ffn, m.exact.data()); });
  run_row(
      on, "GeGLU", "1536", ffn, 24.0 * ffn, false,
      [](const kernel_table& k, row_memory& m) {
        k.geglu(m.x.data(), m.y.data(), ffn, m.out.data());
      },
      [](row_memory& m) { naive::geglu(m.x.data(), m.y.data(), ffn, m.exact.data()); });
  run_row(
      on, "add", "576", hidden, hidden, false,
      [](const kernel_table& k, row_memory& m) { k.add(m.y.data(), hidden, m.out.data()); },
      [](row_memory& m) {
        for (std::uint32_t i = 0; i < hidden; ++i) m.exact[i] += static_cast<double>(m.y[i]);
      });
  run_row(
      on, "peak", "768 logits", 768, 2.0 * 768, false,
      [](const kernel_table& k, row_memory& m) {
        bool finite = true;
        m.out[0] = k.peak(m.x.data(), 768, &finite);
      },
      [](row_memory& m) { m.exact[0] = *std::max_element(m.x.begin(), m.x.end()); });
}

// -- attention

constexpr std::uint32_t group = heads / kv_heads;

/// Keys and values of many sequences of `positions`, one KV head each.
struct pages_pool {
  explicit pages_pool(std::uint32_t positions) : blocks(positions / block_positions) {
    count = static_cast<std::uint32_t>(pool_bytes / (sizeof(half) * floats()));
    std::mt19937 random(4);
    const auto numbers = naive::random_floats(random, floats());
    std::vector<half> one(floats());
    kernels().to_halves(numbers.data(), static_cast<std::uint32_t>(floats()), one.data());
    for (std::uint32_t i = 0; i < count; ++i) copies.push_back(one);
    for (std::uint32_t b = 0; b < blocks; ++b) table.push_back(b);
    for (std::uint32_t p = 0; p < positions; ++p) {
      keys.push_back(naive::random_floats(random, head_dim));
      values.push_back(naive::random_floats(random, head_dim));
    }
  }
  std::size_t floats() const { return std::size_t{2} * blocks * block_positions * head_dim; }
  std::uint32_t blocks, count;
  std::vector<std::vector<half>> copies;
  std::vector<std::uint32_t> table;
  std::vector<std::vector<float>> keys, values;
};

void run_attention(bench& on, const std::string& kernel, std::uint32_t rows,
                   std::uint32_t position) {
  const auto pool = std::make_shared<pages_pool>((position + rows + block_positions - 1) /
                                                 block_positions * block_positions);
  std::mt19937 random(5);
  const auto q = std::make_shared<std::vector<float>>(
      naive::random_floats(random, std::size_t{rows} * group * head_dim));
  bench_case c{.kernel = kernel,
               .shape = std::to_string(rows) + (rows == 1 ? " row" : " rows") + " from position " +
                        std::to_string(position) + ", 3 heads of 64",
               .counted = unit::f32};
  c.operations = 4.0 * rows * group * head_dim * (position + (rows + 1) / 2.0);
  c.bytes = static_cast<double>(sizeof(half) * pool->floats());
  c.make = [=](const kernel_table& k, std::uint32_t thread) -> call {
    const auto out = std::make_shared<std::vector<float>>(q->size());
    const auto scratch =
        std::make_shared<std::vector<float>>(attention_scratch_floats(position + rows, head_dim));
    return [=, &k, at = thread * pool->count / threads_most]() mutable {
      const half* pages = pool->copies[at++ % pool->count].data();
      attention_task task{.q = q->data(), .out = out->data()};
      task.q_stride = task.out_stride = std::size_t{group} * head_dim;
      task.rows = rows, task.group = group, task.head_dim = head_dim, task.position = position;
      task.blocks = pool->table.data(), task.halves = true, task.keys = pages;
      task.values = pages + block_positions * head_dim;
      task.block_stride = std::size_t{2} * block_positions * head_dim;
      task.scratch = scratch->data();
      k.attend(task);
    };
  };
  // The twin does one query of one head: that of the row in the middle.
  c.naive = [=, seen = position + (rows + 1) / 2] {
    (void)naive::attention(q->data(), pool->keys, pool->values, seen);
  };
  c.naive_fraction = 1.0 / (rows * group);
  on.run(c);
}

// -- LoRA over several versions

/// Both products of 16 rows through gate and up, rows of a version side by side.
void run_lora(bench& on, std::uint32_t versions) {
  constexpr std::uint32_t rows = 16, out = 2 * ffn;
  constexpr std::size_t a_floats = std::size_t{rank} * hidden, bt_floats = std::size_t{rank} * out;
  const auto count =
      static_cast<std::uint32_t>(pool_bytes / (sizeof(half) * (a_floats + bt_floats)));
  std::mt19937 random(6);
  const auto exact = naive::random_floats(random, a_floats + bt_floats);
  std::vector<half> one(exact.size());
  kernels().to_halves(exact.data(), static_cast<std::uint32_t>(exact.size()), one.data());
  const auto pool = std::make_shared<std::vector<std::vector<half>>>(count, one);
  const auto x = std::make_shared<std::vector<float>>(
      naive::random_floats(random, std::size_t{rows} * hidden));
  bench_case c{.kernel = "LoRA down + up",
               .shape = "16 rows, gate-up, rank 8, " + std::to_string(versions) +
                        (versions == 1 ? " version" : " versions"),
               .counted = unit::f32};
  c.operations = 2.0 * rows * rank * (hidden + out);
  c.bytes = sizeof(half) * static_cast<double>(a_floats + bt_floats) * versions;
  c.make = [=](const kernel_table& k, std::uint32_t thread) -> call {
    const auto y = std::make_shared<std::vector<float>>(std::size_t{rows} * out);
    return [=, &k, at = thread * count / threads_most]() mutable {
      float t[rank];
      for (std::uint32_t r = 0; r < rows; ++r) {
        const half* a = (*pool)[(at + r * versions / rows) % count].data();
        k.lora_down(x->data() + std::size_t{r} * hidden, a, hidden, rank, 2.0f, t);
        k.lora_up(t, a + a_floats, rank, out, 0, out, y->data() + std::size_t{r} * out);
      }
      at += versions;
    };
  };
  const auto y = std::make_shared<std::vector<double>>(out);
  c.naive = [=] {
    const float* a = exact.data();
    naive::lora(x->data(), {a, a + a_floats, hidden, out, rank, 2.0}, y->data());
  };
  c.naive_fraction = 1.0 / rows;
  on.run(c);
}

// -- logits to a token

/// What serving gets of a row from the head's products, and all that a greedy token needs.
void run_peak(bench& on) {
  std::mt19937 random(7);
  const auto logits =
      std::make_shared<std::vector<float>>(naive::random_floats(random, vocabulary, 3.0f));
  bench_case c{.kernel = "peak",
               .shape = "49152 logits",
               .counted = unit::f32,
               .operations = 2.0 * vocabulary};  // as the short row's; logits lie in a cache
  c.make = [=](const kernel_table& k, std::uint32_t) -> call {
    return [=, peak = k.peak] {
      bool finite = true;
      if (peak(logits->data(), vocabulary, &finite) < 0 || !finite) std::abort();
    };
  };
  on.run(c);
}

void run_sampler(bench& on, const std::string& shape, const sampling& how) {
  std::mt19937 random(7);
  const auto logits =
      std::make_shared<std::vector<float>>(naive::random_floats(random, vocabulary, 3.0f));
  bench_case c{.kernel = "sampler",
               .shape = shape,
               .counted = unit::f32,
               .operations = 2.0 * vocabulary,
               .on_each_path = false};
  c.make = [=, peak = peak_of(*logits)](const kernel_table&, std::uint32_t) -> call {
    const auto draws = std::make_shared<sampler>();
    return [=, index = std::uint64_t{0}]() mutable {
      const token_history nothing{};
      if (!draws->choose({*logits, peak}, how, nothing, index++)) std::abort();
    };
  };
  on.run(c);
}

void run_all(bench& on) {
  for (const auto& p : products) run_products(on, p);
  run_rows(on);
  for (const std::uint32_t position : {127u, 511u, 2047u})
    run_attention(on, "attention, decode", 1, position);
  run_attention(on, "attention, prefill", 32, 0);
  run_attention(on, "attention, prefill", 32, 480);
  for (const std::uint32_t versions : {1u, 2u, 8u, 16u}) run_lora(on, versions);
  run_training(on);
  run_peak(on);
  run_sampler(on, "temperature 1, 49152 logits", {.temperature = 1.0f});
  run_sampler(on, "temperature 1, top-p 0.9, 49152 logits", {.temperature = 1.0f, .top_p = 0.9f});
  run_sampler(on, "temperature 1, top-k 40, 49152 logits", {.temperature = 1.0f, .top_k = 40});
  run_sampler(on, "greedy, 5 logprobs, 49152 logits", {.logprobs = 5});
}

}  // namespace
}  // namespace collm::engine::benching

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 0.02;
  if (seconds <= 0) {
    std::fprintf(stderr, "kernels_bench: a round takes more than 0 seconds\n");
    return 2;
  }
  collm::engine::benching::bench on(seconds);
  nlohmann::ordered_json out;
  out["peaks_before"] = on.peaks();
  collm::engine::benching::run_all(on);
  out["peaks_after"] = on.peaks();
  out["rows"] = on.rows();
  std::cout << out.dump(1) << "\n";
  return 0;
}
