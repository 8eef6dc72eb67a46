// Random adapters and clients for tests of federation/, and dense products to judge them by.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "federation/aggregation.hpp"

namespace collm::federation {

/// A cohort whose updates live in memory.
struct cohort {
  adapter_shape shape;
  trained_factors trained = trained_factors::both;
  std::vector<float> parent;
  std::vector<std::unique_ptr<memory_source>> sources;
  std::vector<summand> updates;

  void add(std::vector<float> change, std::int64_t tokens, std::uint32_t staleness,
           const adapter_shape& own, const std::string& digest) {
    sources.push_back(std::make_unique<memory_source>(std::move(change)));
    updates.push_back({digest, tokens, staleness, own, sources.back().get()});
  }
  result<aggregate> run(const strategy& s) const {
    return aggregate_updates(s, shape, trained, parent, updates);
  }
};

inline adapter_shape small_shape(std::uint32_t rank = 3) {
  return {{{rank, 7, 5, 2.0f}, {rank, 5, 9, 2.0f}}};
}

inline std::vector<float> random_floats(std::mt19937_64& rng, std::size_t count, float size) {
  std::normal_distribution<float> z(0, size);
  std::vector<float> out(count);
  for (float& v : out) v = z(rng);
  return out;
}

/// Clients 0..n-1 with 100, 200, … tokens around one parent.
inline cohort random_cohort(const strategy& s, std::uint32_t phase, std::size_t clients,
                            std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  cohort c;
  c.shape = small_shape();
  c.trained = trained_in(s, phase);
  c.parent = random_floats(rng, c.shape.count(), 0.5f);
  for (std::size_t u = 0; u < clients; ++u)
    c.add(random_floats(rng, c.shape.count(c.trained), 0.1f),
          100 * static_cast<std::int64_t>(u + 1), 0, c.shape, "digest" + std::to_string(u));
  return c;
}

/// scale B A of pair `p`, dense, [out, in].
inline std::vector<double> dense_product(const adapter_shape& shape, std::span<const float> factors,
                                         std::size_t p) {
  const auto at = places(shape, trained_factors::both)[p];
  const auto& s = shape.pairs[p];
  std::vector<double> out(std::size_t{s.out} * s.in);
  for (std::size_t o = 0; o < s.out; ++o)
    for (std::size_t i = 0; i < s.in; ++i)
      for (std::size_t r = 0; r < s.rank; ++r)
        out[o * s.in + i] +=
            double{s.scale} * factors[at.b + o * s.rank + r] * factors[at.a + r * s.in + i];
  return out;
}

/// What a client's factors are after its update, all of them.
inline std::vector<float> after_update(const cohort& c, std::size_t client) {
  auto start = first_directions(c.shape, c.parent, c.updates[client].shape);
  EXPECT_TRUE(start);
  const auto& own = c.updates[client].shape;
  std::vector<float> change(own.count(c.trained));
  EXPECT_TRUE(c.updates[client].values->read(0, change));
  const auto at = places(own, c.trained);
  for (std::size_t p = 0; p < own.pairs.size(); ++p) {
    if (c.trained != trained_factors::b_only)
      for (std::size_t i = 0; i < own.pairs[p].a_count(); ++i)
        (*start)[at[p].a + i] += change[at[p].update_a + i];
    if (c.trained != trained_factors::a_only)
      for (std::size_t i = 0; i < own.pairs[p].b_count(); ++i)
        (*start)[at[p].b + i] += change[at[p].update_b + i];
  }
  return *start;
}

/// What a client of a smaller rank never saw: the parent's other directions, which it leaves.
inline std::vector<double> unseen_product(const cohort& c, std::size_t client, std::size_t p) {
  auto whole = dense_product(c.shape, c.parent, p);
  const auto& own = c.updates[client].shape;
  const auto seen = dense_product(own, *first_directions(c.shape, c.parent, own), p);
  for (std::size_t i = 0; i < whole.size(); ++i) whole[i] -= seen[i];
  return whole;
}

/// ||sum w B A - made|| / ||sum w B A|| over all pairs, from dense matrices.
inline double dense_error(const cohort& c, const aggregate& a) {
  double truth = 0, distance = 0;
  for (std::size_t p = 0; p < c.shape.pairs.size(); ++p) {
    const auto made = dense_product(c.shape, a.factors, p);
    std::vector<double> sum(made.size());
    for (std::size_t u = 0; u < c.updates.size(); ++u) {
      const auto product = dense_product(c.updates[u].shape, after_update(c, u), p),
                 unseen = unseen_product(c, u, p);
      for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] += a.weights[u] * (product[i] + unseen[i]);
    }
    for (std::size_t i = 0; i < sum.size(); ++i) {
      truth += sum[i] * sum[i];
      distance += (sum[i] - made[i]) * (sum[i] - made[i]);
    }
  }
  return std::sqrt(distance / truth);
}

}  // namespace collm::federation
