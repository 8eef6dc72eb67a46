// Least squares with non-negative unknowns, for the latency model's five. Pure.
// Not a solver for anything large: dense normal equations.
#pragma once

#include <array>
#include <cstddef>

namespace collm::coordinator {

inline constexpr std::size_t features_count = 5;
using feature_vector = std::array<double, features_count>;
using feature_matrix = std::array<feature_vector, features_count>;

/// x >= 0 that minimises x'Nx/2 - b'x, N symmetric positive definite (the normal matrix of the
/// samples, with a ridge) and b their right side. Active sets after Lawson and Hanson, Solving
/// Least Squares Problems, chapter 23.
feature_vector nonnegative_least_squares(const feature_matrix& normal, const feature_vector& right);

}  // namespace collm::coordinator
