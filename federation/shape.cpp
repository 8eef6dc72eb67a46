#include "federation/shape.hpp"

#include <cmath>

namespace collm::federation {

namespace {

bool trains_a(trained_factors t) { return t != trained_factors::b_only; }
bool trains_b(trained_factors t) { return t != trained_factors::a_only; }

}  // namespace

std::string_view to_string(trained_factors t) {
  constexpr std::string_view names[] = {"both", "a_only", "b_only"};
  return names[static_cast<std::size_t>(t)];
}

std::size_t adapter_shape::count() const { return count(trained_factors::both); }

std::size_t adapter_shape::count(trained_factors t) const {
  std::size_t sum = 0;
  for (const auto& p : pairs) {
    sum += trains_a(t) ? p.a_count() : 0;
    sum += trains_b(t) ? p.b_count() : 0;
  }
  return sum;
}

std::vector<pair_place> places(const adapter_shape& shape, trained_factors t) {
  std::vector<pair_place> out;
  std::size_t at = 0, update = 0;
  for (const auto& p : shape.pairs) {
    pair_place place{.a = at, .b = at + p.a_count(), .update_a = update, .update_b = update};
    at = place.b + p.b_count();
    if (trains_a(t)) place.update_b = update += p.a_count();
    if (trains_b(t)) update += p.b_count();
    out.push_back(place);
  }
  return out;
}

result<std::vector<float>> first_directions(const adapter_shape& from,
                                            const std::vector<float>& factors,
                                            const adapter_shape& to) {
  if (from.pairs.size() != to.pairs.size())
    return error{errc::conflict, "the client adapts other matrices than the adapter does"};
  std::vector<float> out;
  out.reserve(to.count());
  const auto at = places(from, trained_factors::both);
  for (std::size_t i = 0; i < to.pairs.size(); ++i) {
    const auto& f = from.pairs[i];
    const auto& t = to.pairs[i];
    if (f.in != t.in || f.out != t.out || t.rank > f.rank)
      return error{errc::conflict, "pair " + std::to_string(i) + " of the client has rank " +
                                       std::to_string(t.rank) + " or a shape that rank " +
                                       std::to_string(f.rank) + " of the adapter does not hold"};
    const auto part = static_cast<float>(std::sqrt(double{f.scale} / t.scale));
    for (std::size_t j = 0; j < t.a_count(); ++j) out.push_back(part * factors[at[i].a + j]);
    for (std::size_t row = 0; row < t.out; ++row)
      for (std::size_t j = 0; j < t.rank; ++j)
        out.push_back(part * factors[at[i].b + row * f.rank + j]);
  }
  return out;
}

}  // namespace collm::federation
