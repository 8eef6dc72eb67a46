#include <algorithm>

#include "federation/modes.hpp"

namespace collm::federation {

namespace {

constexpr std::size_t block = 1 << 12;  // floats of every update at once

/// Of sorted numbers. Summed in their order, so that the updates' order says nothing.
double centre(const strategy& s, const std::vector<float>& sorted) {
  const auto m = sorted.size();
  if (s.robust == robust_rule::median) {
    const double upper = sorted[m / 2];
    return m % 2 == 1 ? upper : (sorted[m / 2 - 1] + upper) / 2;
  }
  double sum = 0;
  for (std::size_t i = s.trim; i < m - s.trim; ++i) sum += sorted[i];
  return sum / static_cast<double>(m - 2 * s.trim);
}

}  // namespace

result<std::vector<float>> robust_mean(const strategy& s, std::span<const float> parent,
                                       const adapter_shape& shape, trained_factors trained,
                                       const std::vector<summand>& updates) {
  const auto m = updates.size();
  if (s.robust == robust_rule::trimmed_mean && m < 2 * std::size_t{s.trim} + 1)
    return error{errc::conflict, "trimmed_mean that drops " + std::to_string(s.trim) +
                                     " on either side needs " + std::to_string(2 * s.trim + 1) +
                                     " updates, there are " + std::to_string(m)};
  const std::size_t count = shape.count(trained);
  std::vector<double> centres(count);
  std::vector<std::vector<float>> part(m, std::vector<float>(std::min(block, count)));
  std::vector<float> sorted(m);
  for (std::size_t at = 0; at < count; at += block) {
    const auto n = std::min(block, count - at);
    for (std::size_t u = 0; u < m; ++u) {
      if (auto read = updates[u].values->read(at, {part[u].data(), n}); !read)
        return read.failure();
    }
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t u = 0; u < m; ++u) sorted[u] = part[u][i];
      std::sort(sorted.begin(), sorted.end());
      centres[at + i] = centre(s, sorted);
    }
  }
  return changed(parent, shape, trained, [&](std::size_t i) { return centres[i]; });
}

}  // namespace collm::federation
