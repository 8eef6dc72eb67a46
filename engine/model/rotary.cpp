#include "engine/model/rotary.hpp"

#include <algorithm>
#include <cmath>

#include "messages/assert.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t positions_at_once = 512;  // some hundred microseconds of work

}  // namespace

rotary_angles::rotary_angles(float theta, std::uint32_t head_dim, std::uint32_t context)
    : context_(context) {
  for (std::uint32_t i = 0; i < head_dim / 2; ++i) {
    // float frequencies, as Hugging Face computes them
    const auto exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    frequencies_.push_back(1.0f / std::pow(theta, exponent));
  }
  // Address space only: pages come as reach() fills them, and no row ever moves.
  cosines_.reserve(std::size_t{context} * frequencies_.size());
  sines_.reserve(std::size_t{context} * frequencies_.size());
}

void rotary_angles::reach(std::uint32_t positions) {
  COLLM_ASSERT(positions <= context_);
  if (positions <= reached_) return;
  const std::uint32_t whole =
      (positions + positions_at_once - 1) / positions_at_once * positions_at_once;
  const std::uint32_t end = std::min(whole, context_);
  for (; reached_ < end; ++reached_)
    for (const float frequency : frequencies_) {
      const float angle = static_cast<float>(reached_) * frequency;
      cosines_.push_back(std::cos(angle));
      sines_.push_back(std::sin(angle));
    }
}

}  // namespace collm::engine
