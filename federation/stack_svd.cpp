#include <algorithm>
#include <cmath>

#include "federation/modes.hpp"
#include "federation/small_matrix.hpp"

namespace collm::federation {

namespace {

// A direction that is worth less than this part of the first is rounding, not learning.
constexpr double live_share = 1e-12;

/// sum w scale B A of all clients as a product of two stacks: B [out, R], A [R, in].
struct stacked {
  matrix b, a_transposed;
};

result<stacked> stack(std::span<const float> parent, const adapter_shape& shape,
                      const std::vector<summand>& updates, const std::vector<double>& weights,
                      std::size_t pair) {
  const auto& p = shape.pairs[pair];
  const std::size_t ranks = updates.size() * p.rank;
  stacked s{matrix(p.out, ranks), matrix(p.in, ranks)};
  std::size_t at = 0;
  for (std::size_t u = 0; u < updates.size(); ++u) {
    auto c = client_factors(parent, shape, trained_factors::both, updates[u], pair);
    if (!c) return c.failure();
    for (std::size_t r = 0; r < c->rank; ++r, ++at) {
      for (std::size_t i = 0; i < p.out; ++i) s.b(i, at) = c->b[i * c->rank + r];
      for (std::size_t i = 0; i < p.in; ++i)
        s.a_transposed(i, at) = c->scale * weights[u] * c->a[r * p.in + i];
    }
  }
  return s;
}

/// The sign of a pair of singular vectors is free: the largest entry of B's column is positive.
double sign_of(const matrix& b, std::size_t column) {
  double largest = 0;
  for (std::size_t i = 0; i < b.rows; ++i)
    if (std::abs(b(i, column)) > std::abs(largest)) largest = b(i, column);
  return largest < 0 ? -1 : 1;
}

/// Writes direction r of the new pair; a dead one keeps the parent's A with B = 0, so that it can
/// still learn.
void write_direction(const pair_shape& p, std::size_t r, const matrix& b, const matrix& a,
                     double value, bool live, float* out_a, float* out_b) {
  const double root = std::sqrt(value / p.scale);
  const double sign = live ? sign_of(b, r) : 1;
  for (std::size_t i = 0; i < p.out; ++i)
    out_b[i * p.rank + r] = live ? static_cast<float>(sign * root * b(i, r)) : 0.0f;
  for (std::size_t i = 0; i < p.in && live; ++i)
    out_a[r * p.in + i] = static_cast<float>(sign * root * a(i, r));
}

}  // namespace

result<client_pair> client_factors(std::span<const float> parent, const adapter_shape& shape,
                                   trained_factors trained, const summand& u, std::size_t pair) {
  const auto& full = shape.pairs[pair];
  const auto& own = u.shape.pairs[pair];
  const auto at = places(shape, trained)[pair];
  const auto own_at = places(u.shape, trained)[pair];
  client_pair c{.a = std::vector<double>(full.a_count()),
                .b = std::vector<double>(full.b_count()),
                .rank = full.rank,
                .scale = own.scale};
  const auto part = static_cast<float>(std::sqrt(double{full.scale} / own.scale));
  for (std::size_t i = 0; i < c.a.size(); ++i) c.a[i] = part * parent[at.a + i];
  for (std::size_t i = 0; i < c.b.size(); ++i) c.b[i] = part * parent[at.b + i];
  if (trained != trained_factors::b_only) {
    std::vector<float> change(own.a_count());
    if (auto read = u.values->read(own_at.update_a, change); !read) return read.failure();
    for (std::size_t i = 0; i < change.size(); ++i) c.a[i] += change[i];
  }
  if (trained != trained_factors::a_only) {
    std::vector<float> change(own.b_count());
    if (auto read = u.values->read(own_at.update_b, change); !read) return read.failure();
    for (std::size_t row = 0; row < own.out; ++row)
      for (std::size_t r = 0; r < own.rank; ++r)
        c.b[row * full.rank + r] += change[row * own.rank + r];
  }
  return c;
}

result<std::vector<float>> stack_svd(std::span<const float> parent, const adapter_shape& shape,
                                     const std::vector<summand>& updates,
                                     const std::vector<double>& weights) {
  std::vector<float> out(parent.begin(), parent.end());
  const auto at = places(shape, trained_factors::both);
  for (std::size_t pair = 0; pair < shape.pairs.size(); ++pair) {
    const auto& p = shape.pairs[pair];
    auto s = stack(parent, shape, updates, weights, pair);
    if (!s) return s.failure();
    const auto qb = qr_of(std::move(s->b));
    const auto qa = qr_of(std::move(s->a_transposed));
    const auto core = svd_of(product_transposed(qb.s, qa.s));
    const auto b = product(qb.q, core.left);
    const auto a = product(qa.q, core.right);
    for (std::size_t r = 0; r < p.rank; ++r) {
      const double value = r < core.values.size() ? core.values[r] : 0;
      const bool live = value > live_share * core.values[0];
      write_direction(p, r, b, a, value, live, out.data() + at[pair].a, out.data() + at[pair].b);
    }
  }
  return out;
}

}  // namespace collm::federation
