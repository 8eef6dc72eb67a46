#include <algorithm>

#include "federation/exact_sum.hpp"
#include "federation/modes.hpp"

namespace collm::federation {

namespace {
constexpr std::size_t block = 1 << 16;  // floats read at once
}

std::vector<float> changed(std::span<const float> parent, const adapter_shape& shape,
                           trained_factors trained,
                           const std::function<double(std::size_t)>& change) {
  std::vector<float> out(parent.begin(), parent.end());
  const auto add = [&](std::size_t at, std::size_t update, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      out[at + i] = static_cast<float>(parent[at + i] + change(update + i));
  };
  const auto where = places(shape, trained);
  for (std::size_t p = 0; p < shape.pairs.size(); ++p) {
    const auto& w = where[p];
    if (trained != trained_factors::b_only) add(w.a, w.update_a, shape.pairs[p].a_count());
    if (trained != trained_factors::a_only) add(w.b, w.update_b, shape.pairs[p].b_count());
  }
  return out;
}

result<std::vector<float>> linear_mean(std::span<const float> parent, const adapter_shape& shape,
                                       trained_factors trained,
                                       const std::vector<summand>& updates) {
  exact_sum sum(shape.count(trained));
  std::vector<float> part(block);
  for (const auto& u : updates) {
    const auto weight = update_weight(static_cast<std::uint64_t>(u.tokens), u.staleness);
    if (auto fits = sum.add_weight(weight); !fits) return fits.failure();
    for (std::uint64_t at = 0; at < u.values->count(); at += block) {
      const auto n = std::min<std::uint64_t>(block, u.values->count() - at);
      if (auto read = u.values->read(at, {part.data(), n}); !read) return read.failure();
      sum.add(at, {part.data(), n}, weight);
    }
  }
  return changed(parent, shape, trained, [&](std::size_t i) { return sum.mean(i); });
}

}  // namespace collm::federation
