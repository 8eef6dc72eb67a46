#include "coordinator/least_squares.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace collm::coordinator {

namespace {

// Far more than five unknowns need; the bound ends a cycle that rounding could make.
constexpr int rounds_max = 50;

/// Solves the equations of the free unknowns alone; the others are 0. Gauss with row exchange.
feature_vector solve_free(const feature_matrix& normal, const feature_vector& right,
                          const std::vector<std::size_t>& free) {
  const std::size_t n = free.size();
  std::vector<std::vector<double>> rows(n, std::vector<double>(n + 1));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) rows[i][j] = normal[free[i]][free[j]];
    rows[i][n] = right[free[i]];
  }
  for (std::size_t c = 0; c < n; ++c) {
    const auto largest =
        std::max_element(rows.begin() + static_cast<std::ptrdiff_t>(c), rows.end(),
                         [&](auto& a, auto& b) { return std::abs(a[c]) < std::abs(b[c]); });
    std::swap(rows[c], *largest);
    for (std::size_t r = c + 1; r < n; ++r) {
      const double factor = rows[r][c] / rows[c][c];
      for (std::size_t j = c; j <= n; ++j) rows[r][j] -= factor * rows[c][j];
    }
  }
  feature_vector x{};
  for (std::size_t i = n; i-- > 0;) {
    double sum = rows[i][n];
    for (std::size_t j = i + 1; j < n; ++j) sum -= rows[i][j] * x[free[j]];
    x[free[i]] = sum / rows[i][i];
  }
  return x;
}

/// The unknown at 0 that would gain most by becoming positive; features_count: none would.
std::size_t next_to_free(const feature_matrix& normal, const feature_vector& right,
                         const feature_vector& x, const std::vector<std::size_t>& free) {
  std::size_t best = features_count;
  double most = 0;
  for (std::size_t i = 0; i < features_count; ++i) {
    if (std::find(free.begin(), free.end(), i) != free.end()) continue;
    double gradient = right[i], size = std::abs(right[i]);
    for (std::size_t j = 0; j < features_count; ++j) {
      gradient -= normal[i][j] * x[j];
      size += std::abs(normal[i][j] * x[j]);
    }
    if (gradient <= 1e-12 * size || gradient <= most) continue;
    most = gradient;
    best = i;
  }
  return best;
}

/// Goes from x towards `goal` until the first free unknown reaches 0, and binds that one.
void step_to_border(feature_vector& x, const feature_vector& goal, std::vector<std::size_t>& free) {
  double share = 1;
  std::size_t first = features_count;
  for (auto i : free) {
    if (goal[i] > 0) continue;
    const double until = x[i] / (x[i] - goal[i]);
    if (first < features_count && until >= share) continue;
    share = until;
    first = i;
  }
  for (auto i : free) x[i] = std::max(0.0, x[i] + share * (goal[i] - x[i]));
  x[first] = 0;
  std::erase(free, first);
}

}  // namespace

feature_vector nonnegative_least_squares(const feature_matrix& normal,
                                         const feature_vector& right) {
  feature_vector x{};
  std::vector<std::size_t> free;
  for (int round = 0; round < rounds_max; ++round) {
    const auto added = next_to_free(normal, right, x, free);
    if (added == features_count) break;
    free.push_back(added);
    for (;;) {
      const auto goal = solve_free(normal, right, free);
      if (std::all_of(free.begin(), free.end(), [&](auto i) { return goal[i] > 0; })) {
        x = goal;
        break;
      }
      step_to_border(x, goal, free);
      if (free.empty()) break;
    }
  }
  for (double& v : x) v = std::max(0.0, v);
  return x;
}

}  // namespace collm::coordinator
