// Dense linear algebra for cores of a few hundred rows: thin QR and SVD in double, without a
// library, so that the same input gives the same bytes. Pure. Not for large matrices.
#pragma once

#include <cstddef>
#include <vector>

namespace collm::federation {

/// Row-major.
struct matrix {
  std::size_t rows = 0, columns = 0;
  std::vector<double> values;
  matrix() = default;
  matrix(std::size_t r, std::size_t c) : rows(r), columns(c), values(r * c) {}
  double& operator()(std::size_t r, std::size_t c) { return values[r * columns + c]; }
  double operator()(std::size_t r, std::size_t c) const { return values[r * columns + c]; }
};

matrix product(const matrix& a, const matrix& b);             ///< a b
matrix product_transposed(const matrix& a, const matrix& b);  ///< a bT
matrix transposed(const matrix& a);

/// m = q s; q: [rows, k] with orthonormal columns, s: [k, columns], k = min(rows, columns).
/// Householder reflections (Golub and Van Loan, Matrix Computations, 5.2).
struct thin_qr {
  matrix q, s;
};
thin_qr qr_of(matrix m);

/// m = left diag(values) rightT, values falling, k = min(rows, columns) of them. One-sided Jacobi
/// (Golub and Van Loan, 8.6.3). A column of `left` whose value is 0 is 0.
struct svd {
  matrix left;                 ///< [rows, k]
  std::vector<double> values;  ///< k
  matrix right;                ///< [columns, k]
};
svd svd_of(const matrix& m);

}  // namespace collm::federation
