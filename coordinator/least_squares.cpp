#include "coordinator/least_squares.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

namespace collm::coordinator {

namespace {

// Far more than five unknowns need; the bound ends a cycle that rounding could make.
constexpr int rounds_max = 50;

/// The unknowns that are not bound to 0.
class free_set {
 public:
  std::size_t size() const { return size_; }
  std::size_t operator[](std::size_t i) const { return index_[i]; }
  auto begin() const { return index_.begin(); }
  auto end() const { return index_.begin() + static_cast<std::ptrdiff_t>(size_); }
  bool has(std::size_t unknown) const { return std::find(begin(), end(), unknown) != end(); }
  void add(std::size_t unknown) { index_[size_++] = unknown; }
  void remove(std::size_t unknown) {
    size_ = static_cast<std::size_t>(
        std::remove(index_.begin(), index_.begin() + static_cast<std::ptrdiff_t>(size_), unknown) -
        index_.begin());
  }

 private:
  std::array<std::size_t, features_count> index_{};
  std::size_t size_ = 0;
};

/// Solves the equations of the free unknowns alone; the others are 0. Gauss with row exchange.
feature_vector solve_free(const feature_matrix& normal, const feature_vector& right,
                          const free_set& free) {
  const std::size_t n = free.size();
  std::array<std::array<double, features_count + 1>, features_count> rows{};
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) rows[i][j] = normal[free[i]][free[j]];
    rows[i][n] = right[free[i]];
  }
  for (std::size_t c = 0; c < n; ++c) {
    std::size_t largest = c;
    for (std::size_t r = c + 1; r < n; ++r)
      if (std::abs(rows[r][c]) > std::abs(rows[largest][c])) largest = r;
    std::swap(rows[c], rows[largest]);
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
                         const feature_vector& x, const free_set& free) {
  std::size_t best = features_count;
  double most = 0;
  for (std::size_t i = 0; i < features_count; ++i) {
    if (free.has(i)) continue;
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
void step_to_border(feature_vector& x, const feature_vector& goal, free_set& free) {
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
  free.remove(first);
}

}  // namespace

feature_vector nonnegative_least_squares(const feature_matrix& normal,
                                         const feature_vector& right) {
  feature_vector x{};
  free_set free;
  for (int round = 0; round < rounds_max; ++round) {
    const auto added = next_to_free(normal, right, x, free);
    if (added == features_count) break;
    free.add(added);
    for (;;) {
      const auto goal = solve_free(normal, right, free);
      if (std::all_of(free.begin(), free.end(), [&](auto i) { return goal[i] > 0; })) {
        x = goal;
        break;
      }
      step_to_border(x, goal, free);
      if (free.size() == 0) break;
    }
  }
  return x;
}

}  // namespace collm::coordinator
