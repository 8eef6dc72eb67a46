// Time of one call on one or several threads at once, and what the machine could do at most: both
// measured in one run, so that a share of the peak means something on a shared machine.
#pragma once

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

namespace collm::engine::timing {

using call = std::function<void()>;
using clock = std::chrono::steady_clock;

/// Seconds that `calls` calls take on each of the threads together: from the first thread's start
/// to the last one's end.
inline double seconds_of(const std::vector<call>& of_threads, std::uint64_t calls) {
  std::barrier<> start(static_cast<std::ptrdiff_t>(of_threads.size()));
  std::vector<clock::time_point> from(of_threads.size()), to(of_threads.size());
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < of_threads.size(); ++t)
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      from[t] = clock::now();
      for (std::uint64_t i = 0; i < calls; ++i) of_threads[t]();
      to[t] = clock::now();
    });
  for (auto& t : threads) t.join();
  const auto first = *std::min_element(from.begin(), from.end());
  return std::chrono::duration<double>(*std::max_element(to.begin(), to.end()) - first).count();
}

struct spread {
  double median = 0, least = 0, most = 0;
};

inline spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

/// Seconds of a call: each of `rounds` rounds calls it for about `round_seconds`.
inline spread seconds_per_call(const std::vector<call>& of_threads, double round_seconds,
                               std::uint32_t rounds) {
  std::uint64_t calls = 1;
  double took = seconds_of(of_threads, calls);  // also warms up
  while (took < round_seconds / 8 && calls < (1ull << 40))
    took = seconds_of(of_threads, calls *= 4);
  calls = std::max<std::uint64_t>(
      1, static_cast<std::uint64_t>(round_seconds / took * static_cast<double>(calls)));
  std::vector<double> each;
  for (std::uint32_t i = 0; i < rounds; ++i)
    each.push_back(seconds_of(of_threads, calls) / static_cast<double>(calls));
  return spread_of(each);
}

// -- peaks: one call of each does `ops` operations, or reads `bytes`, of one thread

inline constexpr std::uint32_t peak_loops = 20000, peak_chains = 12;

// Twelve sums hide the latency of instructions that start twice a cycle; registers only.
#define COLLM_PEAK(name, instruction, width)                                                      \
  inline void name() {                                                                            \
    asm volatile("vzeroall" ::: COLLM_REGISTERS);                                                 \
    for (std::uint32_t i = 0; i < peak_loops; ++i)                                                \
      asm volatile(".irp r, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n\t" instruction " %%" width \
                   "0, %%" width "1, %%" width "\\r\n\t.endr" ::                                  \
                       : COLLM_REGISTERS);                                                        \
  }
#define COLLM_REGISTERS                                                                    \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
COLLM_PEAK(int8_vnni_512, "vpdpbusd", "zmm")
COLLM_PEAK(f32_fma_512, "vfmadd231ps", "zmm")
/// What stands for an int8 product without VNNI: inputs widened to 16 bits.
COLLM_PEAK(int16_madd_256, "vpmaddwd", "ymm")
COLLM_PEAK(f32_fma_256, "vfmadd231ps", "ymm")
#undef COLLM_REGISTERS
#undef COLLM_PEAK

inline constexpr double peak_instructions = double{peak_loops} * peak_chains;

/// Sums a buffer far beyond all caches, once.
inline std::uint64_t read_all(const std::vector<std::uint64_t>& buffer) {
  constexpr std::size_t strands = 16;
  std::uint64_t sums[strands] = {};
  for (std::size_t i = 0; i + strands <= buffer.size(); i += strands)
    for (std::size_t j = 0; j < strands; ++j) sums[j] += buffer[i + j];
  return std::accumulate(sums, sums + strands, std::uint64_t{0});
}

}  // namespace collm::engine::timing
