// Training on a real model: milliseconds of each unit by kind and tokens, and tokens a second of
// whole batches. `units_bench MODEL CACHE_DIR [threads] [sample tokens]`
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "engine/engine.hpp"

namespace collm::engine {
namespace {

using clock = std::chrono::steady_clock;

double ms_since(clock::time_point start) {
  return std::chrono::duration<double, std::milli>(clock::now() - start).count();
}

std::vector<training_sample> samples(std::uint32_t count, std::uint32_t tokens,
                                     std::uint32_t vocab) {
  std::vector<training_sample> all(count);
  std::uint32_t state = 1;
  for (auto& s : all) {
    for (std::uint32_t i = 0; i < tokens; ++i) {
      state = state * 1664525u + 1013904223u;
      s.tokens.push_back(static_cast<std::int32_t>((state >> 8) % vocab));
    }
    s.prompt_tokens = tokens / 2;
  }
  return all;
}

template <class T>
T must(result<T> r) {
  if (r) return *std::move(r);
  std::fprintf(stderr, "%s\n", r.failure().message.c_str());
  std::exit(1);
}

/// Median milliseconds of each kind over a batch of one sample of `rows` rows.
void print_units(const base_ptr& b, const adapter_ptr& parent, std::uint32_t threads,
                 std::uint32_t rows) {
  training_options o;
  o.threads = threads;
  o.window_tokens = std::max(rows, 16u);
  o.sample_tokens = o.batch_tokens = rows + 1;
  const auto t = must(make_trainer(b, parent, o));
  std::map<unit_kind, std::vector<double>> times;
  std::uint32_t losses = 0;
  for (int round = 0; round < 3; ++round) {
    if (!t->begin_batch(samples(1, rows + 1, b->shape().vocab))) std::exit(1);
    while (const auto unit = t->next()) {
      if (unit->kind == unit_kind::loss_head) losses = unit->tokens;
      const auto start = clock::now();
      if (!t->run()) std::exit(1);
      if (round > 0) times[unit->kind].push_back(ms_since(start));
    }
  }
  const auto median = [&](unit_kind kind) {
    auto& all = times[kind];
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
  };
  std::printf("%6u %10.3f %10.3f %10.3f (%3u) %10.3f\n", rows, median(unit_kind::layer_forward),
              median(unit_kind::layer_backward), median(unit_kind::loss_head), losses,
              median(unit_kind::optimizer_step));
}

void print_batches(const base_ptr& b, const adapter_ptr& parent, std::uint32_t threads,
                   std::uint32_t tokens) {
  training_options o;
  o.threads = threads;
  o.sample_tokens = std::max(tokens, 2u);
  const auto t = must(make_trainer(b, parent, o));
  const auto batch = samples(o.batch_tokens / tokens, tokens, b->shape().vocab);
  std::vector<double> rates;
  for (int round = 0; round < 4; ++round) {
    const auto start = clock::now();
    if (!t->begin_batch(batch)) std::exit(1);
    while (t->next())
      if (!t->run()) std::exit(1);
    if (round > 0)
      rates.push_back(static_cast<double>(batch.size()) * tokens * 1000 / ms_since(start));
  }
  std::sort(rates.begin(), rates.end());
  const auto m = t->declared(), used = t->used();
  std::printf("samples of %u tokens, half of them completion: %.0f tokens/s\n", tokens,
              rates[rates.size() / 2]);
  std::printf("declared MiB: factors %.1f, optimizer %.1f, activations %.1f; used %.1f\n",
              static_cast<double>(m.factors) / (1 << 20),
              static_cast<double>(m.optimizer) / (1 << 20),
              static_cast<double>(m.activations) / (1 << 20),
              static_cast<double>(used.total()) / (1 << 20));
}

}  // namespace
}  // namespace collm::engine

int main(int count, char** arguments) {
  using namespace collm::engine;
  if (count < 3) {
    std::fprintf(stderr, "usage: units_bench MODEL CACHE_DIR [threads] [sample tokens]\n");
    return 2;
  }
  const auto threads = static_cast<std::uint32_t>(count > 3 ? std::atoi(arguments[3]) : 1);
  const auto tokens = static_cast<std::uint32_t>(count > 4 ? std::atoi(arguments[4]) : 256);
  const auto b = must(open_base(arguments[1], precision::int8, arguments[2]));
  const auto parent =
      must(initial_adapter(*b, 8, 16, {"q", "k", "v", "o", "gate", "up", "down"}, 1));
  std::printf("%u threads, %s\n", threads, kernel_path().c_str());
  print_batches(b, parent, threads, tokens);
  std::printf("tokens    forward   backward  loss head        optimizer  (ms)\n");
  for (const std::uint32_t rows : {16u, 32u, 64u, 128u, 256u, 512u})
    print_units(b, parent, threads, rows);
  return 0;
}
