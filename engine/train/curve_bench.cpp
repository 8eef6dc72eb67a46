// Training on given batches: one JSON line a step with loss and seconds, then one with the memory.
// bench/train.py feeds it. `curve_bench MODEL CACHE_DIR PEFT_FOLDER PRECISION THREADS RATE <
// batches` A sample is a line: prompt tokens, then the tokens; an empty line ends a batch.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "engine/engine.hpp"

namespace collm::engine {
namespace {

template <class T>
T must(result<T> r) {
  if (r) return *std::move(r);
  std::fprintf(stderr, "curve_bench: %s\n", r.failure().message.c_str());
  std::exit(1);
}

std::vector<std::vector<training_sample>> read_batches(std::istream& from) {
  std::vector<std::vector<training_sample>> batches(1);
  for (std::string line; std::getline(from, line);) {
    if (line.empty()) {
      batches.emplace_back();
      continue;
    }
    std::istringstream numbers(line);
    training_sample s;
    numbers >> s.prompt_tokens;
    for (std::int32_t t = 0; numbers >> t;) s.tokens.push_back(t);
    batches.back().push_back(std::move(s));
  }
  if (batches.back().empty()) batches.pop_back();
  return batches;
}

std::uint64_t peak_kib() {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10);
  return 0;
}

batch_report step(trainer& t, std::vector<training_sample> batch) {
  if (const auto begun = t.begin_batch(std::move(batch)); !begun) {
    std::fprintf(stderr, "curve_bench: %s\n", begun.failure().message.c_str());
    std::exit(1);
  }
  for (;;)
    if (const auto done = must(t.run()); done.batch) return *done.batch;
}

/// Buffers follow the longest sample.
training_options options_for(const std::vector<std::vector<training_sample>>& batches) {
  training_options o;
  o.warmup_steps = 0;
  o.sample_tokens = o.batch_tokens = 2;
  for (const auto& batch : batches) {
    std::size_t tokens = 0;
    for (const auto& s : batch) {
      o.sample_tokens = std::max(o.sample_tokens, static_cast<std::uint32_t>(s.tokens.size()));
      tokens += s.tokens.size();
    }
    o.batch_tokens = std::max(o.batch_tokens, static_cast<std::uint32_t>(tokens));
  }
  return o;
}

int run(char** arguments) {
  const auto p = std::string(arguments[4]) == "f32" ? precision::f32 : precision::int8;
  const auto b = must(open_base(arguments[1], p, arguments[2]));
  const auto batches = read_batches(std::cin);
  auto o = options_for(batches);
  o.threads = static_cast<std::uint32_t>(std::atoi(arguments[5]));
  o.learning_rate = static_cast<float>(std::atof(arguments[6]));
  const auto t = must(make_trainer(b, must(load_peft(*b, arguments[3])), o));
  for (const auto& batch : batches) {
    const auto start = std::chrono::steady_clock::now();
    const auto done = step(*t, batch);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("{\"loss\": %.6f, \"tokens\": %u, \"seconds\": %.4f}\n", done.loss, done.tokens,
                took.count());
    std::fflush(stdout);
  }
  std::printf("{\"peak_kib\": %llu, \"declared_bytes\": %llu, \"path\": \"%s\"}\n",
              static_cast<unsigned long long>(peak_kib()),
              static_cast<unsigned long long>(t->declared().total()), kernel_path().c_str());
  return 0;
}

}  // namespace
}  // namespace collm::engine

int main(int count, char** arguments) {
  if (count == 7) return collm::engine::run(arguments);
  std::fprintf(stderr,
               "usage: curve_bench MODEL CACHE_DIR PEFT_FOLDER f32|int8 THREADS RATE < batches\n");
  return 2;
}
