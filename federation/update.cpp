#include "federation/update.hpp"

#include <algorithm>
#include <cmath>

#include "federation/exact_sum.hpp"

namespace collm::federation {

namespace {

constexpr double norm_over_median_max = 10;
constexpr std::size_t block = 1 << 16;  // floats read at once

error refused(const std::string& what, const std::string& is, const std::string& right) {
  return {errc::bad_request, "update refused: " + what + " is " + is + ", " + right + " is right"};
}

}  // namespace

result<void> memory_source::read(std::uint64_t at, std::span<float> out) {
  if (at > values_.size() || out.size() > values_.size() - at)
    return error{errc::corrupt, "the update ends before value " + std::to_string(at + out.size())};
  std::copy_n(values_.begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
  return {};
}

result<adapter_shape> shape_of(const update_header& h, const adapter_shape& adapter) {
  adapter_shape own = adapter;
  if (h.ranks.empty()) return own;
  if (h.ranks.size() != adapter.pairs.size())
    return refused("number of ranks", std::to_string(h.ranks.size()),
                   std::to_string(adapter.pairs.size()));
  for (std::size_t i = 0; i < h.ranks.size(); ++i) {
    auto& p = own.pairs[i];
    if (h.ranks[i] == 0 || h.ranks[i] > p.rank)
      return refused("rank of pair " + std::to_string(i), std::to_string(h.ranks[i]),
                     "1 to " + std::to_string(p.rank));
    p.rank = h.ranks[i];
  }
  return own;
}

result<void> check_header(const update_header& h, const update_terms& terms,
                          std::uint32_t staleness) {
  if (h.adapter != terms.adapter) return refused("adapter", h.adapter, terms.adapter);
  if (h.base_digest != terms.base_digest)
    return refused("base", h.base_digest.substr(0, 12), terms.base_digest.substr(0, 12));
  if (!terms.how.fedbuff && (staleness > 0 || h.parent != terms.parent))
    return refused("parent", std::to_string(h.parent), std::to_string(terms.parent));
  if (staleness > staleness_max)
    return refused("staleness", std::to_string(staleness) + " versions",
                   "at most " + std::to_string(staleness_max));
  if (h.parent == terms.parent && h.parent_digest != terms.parent_digest)
    return refused("parent's digest", h.parent_digest.substr(0, 12),
                   terms.parent_digest.substr(0, 12));
  if (h.trained != terms.trained)
    return refused("trained half", std::string(to_string(h.trained)),
                   std::string(to_string(terms.trained)));
  if (h.tokens < 0) return refused("token count", std::to_string(h.tokens), "0 or more");
  if (!h.ranks.empty() && terms.how.aggregate != aggregate_mode::stack_svd)
    return refused("rank", "the client's own", "the adapter's, but for stack_svd,");
  const auto own = shape_of(h, terms.shape);
  if (!own) return own.failure();
  if (h.values != own->count(h.trained))
    return refused("number of values", std::to_string(h.values),
                   std::to_string(own->count(h.trained)));
  return {};
}

result<double> check_values(update_source& values, const update_terms& terms) {
  std::vector<float> part(block);
  double squares = 0;
  for (std::uint64_t at = 0; at < values.count(); at += block) {
    const auto n = std::min<std::uint64_t>(block, values.count() - at);
    const std::span<float> now(part.data(), n);
    if (auto read = values.read(at, now); !read) return read.failure();
    for (std::size_t i = 0; i < n; ++i) {
      const double v = now[i];
      if (!std::isfinite(v)) return refused("value " + std::to_string(at + i), "not finite", "one");
      if (std::abs(v) > change_max)
        return refused("value " + std::to_string(at + i), std::to_string(v), "at most 16");
      squares += v * v;
    }
  }
  const double norm = std::sqrt(squares);
  if (terms.median_norm > 0 && norm > norm_over_median_max * terms.median_norm)
    return refused(
        "norm", std::to_string(norm),
        "at most ten times the last round's median " + std::to_string(terms.median_norm));
  return norm;
}

double median_of(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace collm::federation
