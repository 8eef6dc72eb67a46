#include <cmath>

#include "bench/workload_maker.hpp"
#include "cli/play.hpp"

namespace collm::cli {
namespace {

/// One fixed sequence, so that two runs can be compared.
constexpr std::uint64_t demo_seed = 1;

}  // namespace

result<bench::workload> demo_workload(double seconds, double rate) {
  const auto count = static_cast<std::uint64_t>(std::max(1.0, std::round(seconds * rate)));
  auto texts = bench::demo_texts({demo::site::kitchen, demo::site::workshop}, demo::split::served,
                                 count, demo_seed);
  if (!texts) return texts.failure();
  bench::making how;
  how.seed = demo_seed;
  how.arrivals_from = json(rate).dump() + " requests/s, Poisson";
  how.texts_from = "demo";
  return bench::make_workload(
      bench::arrivals_at_rate(bench::spacing::poisson, rate, count, demo_seed), *texts, how);
}

}  // namespace collm::cli
