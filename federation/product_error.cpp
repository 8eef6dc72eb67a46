// How far the aggregate is from the mean of the clients' products, by Gram matrices: no product of
// full size is ever made. <B1 A1, B2 A2> = tr((B1T B2)(A2 A1T)).
#include <algorithm>

#include "federation/modes.hpp"

namespace collm::federation {

namespace {

double inner(const client_pair& x, const client_pair& y, const pair_shape& p) {
  std::vector<double> gram(std::size_t{x.rank} * y.rank);
  for (std::size_t row = 0; row < p.out; ++row)
    for (std::size_t i = 0; i < x.rank; ++i)
      for (std::size_t j = 0; j < y.rank; ++j)
        gram[i * y.rank + j] += x.b[row * x.rank + i] * y.b[row * y.rank + j];
  double sum = 0;
  for (std::size_t i = 0; i < x.rank; ++i) {
    for (std::size_t j = 0; j < y.rank; ++j) {
      double rows = 0;
      for (std::size_t k = 0; k < p.in; ++k) rows += x.a[i * p.in + k] * y.a[j * p.in + k];
      sum += gram[i * y.rank + j] * rows;
    }
  }
  return x.scale * y.scale * sum;
}

client_pair made_pair(std::span<const float> made, const pair_shape& p, const pair_place& at) {
  const auto a = made.subspan(at.a, p.a_count()), b = made.subspan(at.b, p.b_count());
  return {.a = {a.begin(), a.end()}, .b = {b.begin(), b.end()}, .rank = p.rank, .scale = p.scale};
}

}  // namespace

result<std::vector<product_error>> product_errors(std::span<const float> parent,
                                                  std::span<const float> made,
                                                  const adapter_shape& shape,
                                                  trained_factors trained,
                                                  const std::vector<summand>& updates,
                                                  const std::vector<double>& weights) {
  std::vector<product_error> out;
  const auto at = places(shape, trained_factors::both);
  for (std::size_t pair = 0; pair < shape.pairs.size(); ++pair) {
    const auto& p = shape.pairs[pair];
    std::vector<client_pair> clients;
    for (const auto& u : updates) {
      auto c = client_factors(parent, shape, trained, u, pair);
      if (!c) return c.failure();
      clients.push_back(std::move(*c));
    }
    const auto mine = made_pair(made, p, at[pair]);
    product_error e;
    double cross = 0;
    for (std::size_t u = 0; u < clients.size(); ++u) {
      cross += weights[u] * inner(clients[u], mine, p);
      e.truth += weights[u] * weights[u] * inner(clients[u], clients[u], p);
      for (std::size_t v = u + 1; v < clients.size(); ++v)
        e.truth += 2 * weights[u] * weights[v] * inner(clients[u], clients[v], p);
    }
    e.distance = std::max(0.0, e.truth - 2 * cross + inner(mine, mine, p));
    out.push_back(e);
  }
  return out;
}

}  // namespace collm::federation
