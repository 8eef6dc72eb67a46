#include "engine/model/calibrate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/model/decoder.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t calibration_tokens =
    512;                                    // twice as many choose the same columns but for a few
constexpr std::uint32_t rows_at_once = 64;  // bounds the logits: 64 MiB with Gemma's 262144 tokens

using magnitudes = std::vector<float>;

/// Largest magnitude of every input channel of every product.
class recorder final : public input_observer {
 public:
  explicit recorder(std::uint32_t layers) : layers_(layers) {}
  void layer_input(std::uint32_t layer, matrix m, const float* x, std::uint32_t in) override {
    record(layers_[layer][static_cast<std::size_t>(m)], x, in);
  }
  void head_input(const float* x, std::uint32_t in) override { record(head_, x, in); }

  outlier_channels largest() const {
    outlier_channels all;
    all.layers.resize(layers_.size());
    for (std::size_t l = 0; l < layers_.size(); ++l)
      for (std::size_t m = 0; m < matrices_count; ++m) all.layers[l][m] = choose(layers_[l][m]);
    all.head = choose(head_);
    return all;
  }

 private:
  static void record(magnitudes& most, const float* x, std::uint32_t in) {
    most.resize(in, 0.0f);
    for (std::uint32_t k = 0; k < in; ++k) most[k] = std::max(most[k], std::fabs(x[k]));
  }
  static std::vector<std::uint32_t> choose(const magnitudes& most) {
    std::vector<std::uint32_t> order(most.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return most[a] > most[b]; });
    order.resize(outlier_columns(static_cast<std::uint32_t>(most.size())));
    std::sort(order.begin(), order.end());
    return order;
  }
  std::vector<std::array<magnitudes, matrices_count>> layers_;
  magnitudes head_;
};

/// Knuth's MMIX generator: the same tokens on every machine, so the same image from the same file.
std::vector<std::int32_t> random_tokens(std::uint32_t count, std::uint32_t vocab) {
  std::uint64_t state = 1;
  std::vector<std::int32_t> tokens(count);
  for (auto& t : tokens) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    t = static_cast<std::int32_t>((state >> 33) % vocab);
  }
  return tokens;
}

}  // namespace

outlier_channels calibrate(std::shared_ptr<const packed_base> f32) {
  const auto& s = f32->shape();
  const std::uint32_t count = std::min(calibration_tokens, s.context);
  const auto tokens = random_tokens(count, s.vocab);
  private_pages pages(s, f32->precision(), count);
  recorder seen(s.layers);
  decoder forward(f32, 1, rows_at_once, &seen);
  for (std::uint32_t at = 0; at < count; at += rows_at_once) {
    const auto some = std::span(tokens).subspan(at, std::min(rows_at_once, count - at));
    const segment next{some, at, pages.table(), nullptr, false, true};
    (void)forward.forward(std::span(&next, 1), pages.kv());
  }
  return seen.largest();
}

}  // namespace collm::engine
