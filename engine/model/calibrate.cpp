#include "engine/model/calibrate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace collm::engine {
namespace {

constexpr std::uint32_t tokens_max = 512;  // twice as many choose the same columns but for a few

}  // namespace

/// Knuth's MMIX generator.
std::vector<std::int32_t> calibration_tokens(const model_shape& shape) {
  std::uint64_t state = 1;
  std::vector<std::int32_t> tokens(std::min(tokens_max, shape.context));
  for (auto& t : tokens) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    t = static_cast<std::int32_t>((state >> 33) % shape.vocab);
  }
  return tokens;
}

void calibrate(std::shared_ptr<const packed_base> f32, input_observer& observer) {
  const auto& s = f32->shape();
  std::vector<std::int32_t> tokens(s.vocab);
  std::iota(tokens.begin(), tokens.end(), 0);
  private_pages pages(s, f32->precision(), s.vocab);
  decoder forward(f32, 1, s.vocab, &observer);
  const segment all{tokens, 0, pages.table(), nullptr, false, true};
  (void)forward.forward(std::span(&all, 1), pages.kv());
}

void channel_magnitudes::record(const float* x, std::uint32_t in) {
  most_.resize(in, 0.0f);
  for (std::uint32_t k = 0; k < in; ++k) most_[k] = std::max(most_[k], std::fabs(x[k]));
}

std::vector<std::uint32_t> channel_magnitudes::outliers() const {
  std::vector<std::uint32_t> order(most_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order, [&](auto a, auto b) { return most_[a] > most_[b]; });
  order.resize(outlier_columns(static_cast<std::uint32_t>(most_.size())));
  std::ranges::sort(order);
  return order;
}

}  // namespace collm::engine
