// An adapter's factors as one row of floats, and which of them a round trains. Pure.
// The order is the trainer's: by layer, then target, A before B.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"

namespace collm::federation {

/// Which factors a round changes. The others stay as the parent has them.
enum class trained_factors : std::uint8_t { both, a_only, b_only };
std::string_view to_string(trained_factors t);

/// One adapted matrix: A [rank, in], B [out, rank], row-major; out = W in + scale B A in.
struct pair_shape {
  std::uint32_t rank = 0, in = 0, out = 0;
  float scale = 1;  ///< alpha/rank, or alpha/sqrt(rank)
  std::size_t a_count() const { return std::size_t{rank} * in; }
  std::size_t b_count() const { return std::size_t{out} * rank; }
  friend bool operator==(const pair_shape&, const pair_shape&) = default;
};

/// All pairs of an adapter; numbers of the row are told from this alone.
struct adapter_shape {
  std::vector<pair_shape> pairs;
  std::size_t count() const;  ///< floats of all A and B
  /// Floats of what a round with `t` trains: what an update holds, pair by pair in the same order.
  std::size_t count(trained_factors t) const;
  friend bool operator==(const adapter_shape&, const adapter_shape&) = default;
};

/// Where a pair's factors begin: in the adapter's row, and in an update's.
struct pair_place {
  std::size_t a = 0, b = 0;                ///< in the row of all factors
  std::size_t update_a = 0, update_b = 0;  ///< in an update, for the factors that it trains
};
std::vector<pair_place> places(const adapter_shape& shape, trained_factors t);

/// The first `to` directions of factors with shape `from`, for a client of smaller rank. Scales may
/// differ: each factor takes its part, so that scale B A stays what the directions are worth.
/// conflict: other matrices, or a larger rank.
result<std::vector<float>> first_directions(const adapter_shape& from,
                                            const std::vector<float>& factors,
                                            const adapter_shape& to);

}  // namespace collm::federation
