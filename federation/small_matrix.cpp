#include "federation/small_matrix.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace collm::federation {

namespace {

constexpr int sweeps_max = 60;        // Jacobi needs about ten
constexpr double orthogonal = 1e-15;  // |cosine| of two columns that need no rotation

/// Columns as rows: Jacobi works on pairs of columns.
void rotate(matrix& t, std::size_t p, std::size_t q, double c, double s) {
  for (std::size_t i = 0; i < t.columns; ++i) {
    const double x = t(p, i), y = t(q, i);
    t(p, i) = c * x - s * y;
    t(q, i) = s * x + c * y;
  }
}

double inner(const matrix& t, std::size_t p, std::size_t q) {
  double sum = 0;
  for (std::size_t i = 0; i < t.columns; ++i) sum += t(p, i) * t(q, i);
  return sum;
}

/// Makes the rows of `work` orthogonal, and turns `right` alike.
void jacobi(matrix& work, matrix& right) {
  for (int sweep = 0; sweep < sweeps_max; ++sweep) {
    bool turned = false;
    for (std::size_t p = 0; p + 1 < work.rows; ++p) {
      for (std::size_t q = p + 1; q < work.rows; ++q) {
        const double a = inner(work, p, p), b = inner(work, q, q), d = inner(work, p, q);
        if (std::abs(d) <= orthogonal * std::sqrt(a * b) || d == 0) continue;
        turned = true;
        const double zeta = (b - a) / (2 * d);
        const double t = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
        const double c = 1 / std::sqrt(1 + t * t);
        rotate(work, p, q, c, c * t);
        rotate(right, p, q, c, c * t);
      }
    }
    if (!turned) return;
  }
}

svd svd_of_tall(const matrix& m) {
  const std::size_t n = m.columns;
  matrix work = transposed(m), right(n, n);
  for (std::size_t i = 0; i < n; ++i) right(i, i) = 1;
  jacobi(work, right);
  std::vector<double> norms(n);
  for (std::size_t i = 0; i < n; ++i) norms[i] = std::sqrt(inner(work, i, i));
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return norms[a] > norms[b]; });
  svd out{matrix(m.rows, n), std::vector<double>(n), matrix(n, n)};
  for (std::size_t k = 0; k < n; ++k) {
    const auto from = order[k];
    out.values[k] = norms[from];
    for (std::size_t i = 0; i < m.rows && norms[from] > 0; ++i)
      out.left(i, k) = work(from, i) / norms[from];
    for (std::size_t i = 0; i < n; ++i) out.right(i, k) = right(from, i);
  }
  return out;
}

/// Applies I - 2 v vT / (vT v) to rows `from`.. of m; v has one number for each of them.
void reflect(matrix& m, const std::vector<double>& v, std::size_t from, double squares) {
  if (squares == 0) return;
  std::vector<double> along(m.columns);
  for (std::size_t i = from; i < m.rows; ++i)
    for (std::size_t j = 0; j < m.columns; ++j) along[j] += v[i - from] * m(i, j);
  for (std::size_t i = from; i < m.rows; ++i)
    for (std::size_t j = 0; j < m.columns; ++j) m(i, j) -= 2 / squares * v[i - from] * along[j];
}

}  // namespace

matrix product(const matrix& a, const matrix& b) {
  matrix out(a.rows, b.columns);
  for (std::size_t i = 0; i < a.rows; ++i)
    for (std::size_t k = 0; k < a.columns; ++k)
      for (std::size_t j = 0; j < b.columns; ++j) out(i, j) += a(i, k) * b(k, j);
  return out;
}

matrix product_transposed(const matrix& a, const matrix& b) {
  matrix out(a.rows, b.rows);
  for (std::size_t i = 0; i < a.rows; ++i)
    for (std::size_t j = 0; j < b.rows; ++j)
      for (std::size_t k = 0; k < a.columns; ++k) out(i, j) += a(i, k) * b(j, k);
  return out;
}

matrix transposed(const matrix& a) {
  matrix out(a.columns, a.rows);
  for (std::size_t i = 0; i < a.rows; ++i)
    for (std::size_t j = 0; j < a.columns; ++j) out(j, i) = a(i, j);
  return out;
}

thin_qr qr_of(matrix m) {
  const std::size_t k = std::min(m.rows, m.columns);
  std::vector<std::vector<double>> reflections;
  std::vector<double> squares;
  for (std::size_t c = 0; c < k; ++c) {
    std::vector<double> v(m.rows - c);
    double sum = 0;
    for (std::size_t i = c; i < m.rows; ++i) {
      v[i - c] = m(i, c);
      sum += v[i - c] * v[i - c];
    }
    v[0] += v[0] >= 0 ? std::sqrt(sum) : -std::sqrt(sum);
    squares.push_back(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
    reflect(m, v, c, squares.back());
    reflections.push_back(std::move(v));
  }
  thin_qr out{matrix(m.rows, k), matrix(k, m.columns)};
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = i; j < m.columns; ++j) out.s(i, j) = m(i, j);
  for (std::size_t i = 0; i < k; ++i) out.q(i, i) = 1;
  for (std::size_t c = k; c-- > 0;) reflect(out.q, reflections[c], c, squares[c]);
  return out;
}

svd svd_of(const matrix& m) {
  if (m.rows >= m.columns) return svd_of_tall(m);
  auto flipped = svd_of_tall(transposed(m));
  return {std::move(flipped.right), std::move(flipped.values), std::move(flipped.left)};
}

}  // namespace collm::federation
