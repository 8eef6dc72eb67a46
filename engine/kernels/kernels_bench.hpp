// One case of kernels_bench and what measures it; the cases themselves are in *_bench.cpp.
#pragma once

#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/kernels.hpp"
#include "engine/kernels/naive.hpp"
#include "engine/kernels/timing_bench.hpp"
#include "engine/model/base_weights.hpp"

namespace collm::engine::benching {

// SmolLM2-135M
inline constexpr std::uint32_t hidden = 576, ffn = 1536, heads = 9, kv_heads = 3, head_dim = 64,
                               vocabulary = 49152, rank = 8;

using json = nlohmann::ordered_json;
using timing::call;

inline constexpr std::size_t pool_bytes = std::size_t{160} << 20;  // of what a step reads only once
inline constexpr std::uint32_t rounds = 5, threads_most = 2;

enum class unit : std::uint8_t { int8, f32, memory };

/// One kernel at one shape. Operations and bytes are of one call; a multiply-add counts as two.
struct bench_case {
  std::string kernel, shape;
  unit counted = unit::f32;
  double operations = 0, bytes = 0;
  /// A call with memory of its own; `thread` says where in a shared pool it starts.
  std::function<call(const kernel_table&, std::uint32_t thread)> make = {};
  call naive = {};            ///< may be absent
  double naive_fraction = 1;  ///< of the work of one call
  bool on_each_path = true;
};

class bench {
 public:
  explicit bench(double seconds) : seconds_(seconds) {}

  json peaks() {
    const auto rate = [&](double of_one, const call& one) {
      json out = json::array();
      for (std::uint32_t n = 1; n <= threads_most; ++n) {
        const auto s = timing::seconds_per_call(std::vector<call>(n, one), 4 * seconds_, rounds);
        out.push_back(of_one * n / s.least * 1e-9);
      }
      return out;
    };
    namespace t = timing;
    json out;
    const bool wide = kernel_paths().front()->name == std::string("avx512-vnni");
    if (wide) {
      out["int8_vnni_512_gops"] = rate(t::peak_instructions * 128, t::int8_vnni_512);
      out["f32_fma_512_gops"] = rate(t::peak_instructions * 32, t::f32_fma_512);
    }
    if (kernel_paths().size() > 1) {
      out["int16_madd_256_gops"] = rate(t::peak_instructions * 32, t::int16_madd_256);
      out["f32_fma_256_gops"] = rate(t::peak_instructions * 16, t::f32_fma_256);
    }
    const std::vector<std::uint64_t> buffer(pool_bytes / 8 * 2, 1);
    out["memory_read_gbytes"] = rate(static_cast<double>(buffer.size()) * 8, [&] {
      [[maybe_unused]] volatile std::uint64_t sink = timing::read_all(buffer);
    });
    return out;
  }

  void run(const bench_case& c) {
    std::fprintf(stderr, "kernels: %s %s\n", c.kernel.c_str(), c.shape.c_str());
    json row = {{"kernel", c.kernel},
                {"shape", c.shape},
                {"counted", c.counted == unit::int8  ? "int8"
                            : c.counted == unit::f32 ? "f32"
                                                     : "memory"},
                {"operations", c.operations},
                {"bytes", c.bytes}};
    if (c.naive)
      row["naive_seconds"] =
          timing::seconds_per_call({c.naive}, seconds_, 3).median / c.naive_fraction;
    for (const auto* path : kernel_paths()) {
      if (!c.on_each_path && path != kernel_paths().front()) break;
      for (std::uint32_t n = 1; n <= threads_most; ++n) {
        std::vector<call> calls;
        for (std::uint32_t t = 0; t < n; ++t) calls.push_back(c.make(*path, t));
        const auto s = timing::seconds_per_call(calls, seconds_, rounds);
        row["seconds"][path->name].push_back(
            {{"threads", n}, {"median", s.median}, {"least", s.least}, {"most", s.most}});
      }
    }
    rows_.push_back(std::move(row));
  }

  json rows() { return std::move(rows_); }

 private:
  double seconds_;
  json rows_ = json::array();
};

struct named_product {
  const char* name;
  std::uint32_t in, out;
  bool whole;
  bool four_bit = false;
};
inline constexpr named_product products[] = {
    {"qkv", hidden, (heads + 2 * kv_heads) * head_dim, false},
    {"o", heads* head_dim, hidden, false},
    {"gate-up", hidden, 2 * ffn, false},
    {"down", ffn, hidden, true},
    {"LM head", hidden, vocabulary, false},
    {"gate-up", hidden, 2 * ffn, false, true},
    {"down", ffn, hidden, true, true}};

inline std::uint32_t high_columns(const named_product& p) {
  return p.whole ? p.in : outlier_columns(p.in);
}

inline std::string shape_of(std::uint32_t rows, const named_product& p) {
  return std::to_string(rows) + (rows == 1 ? " row, " : " rows, ") + p.name + " " +
         std::to_string(p.in) + " to " + std::to_string(p.out) + (p.four_bit ? ", four bits" : "");
}

/// Weights again and again, so that each call reads some that no cache holds.
struct weights_pool {
  explicit weights_pool(const named_product& of) {
    std::mt19937 random(1);
    first = naive::random_product(random, of.in, of.out, high_columns(of), of.four_bit);
    const std::size_t bytes = first.tiles.size();
    count = static_cast<std::uint32_t>(std::max<std::size_t>(2, pool_bytes / bytes));
    for (std::uint32_t i = 0; i < count; ++i) copies.push_back(first.tiles);
  }
  naive::product first;
  std::vector<std::vector<std::int8_t>> copies;
  std::uint32_t count;
};

/// Of training: the product back, and the dense products of LoRA and attention.
void run_training(bench& on);

}  // namespace collm::engine::benching
