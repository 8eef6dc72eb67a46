// Angles of rotary positions for one base frequency (RoFormer, arXiv 2104.09864). One decoder owns
// it.
#pragma once

#include <cstdint>
#include <vector>

namespace collm::engine {

/// Position p, pair i turns by p * theta^(-2i / head_dim). Grows with the longest sequence: a whole
/// context of 32768 would be tens of MiB, and long in the making.
class rotary_angles {
 public:
  rotary_angles(float theta, std::uint32_t head_dim, std::uint32_t context);
  /// Makes positions below `positions` readable; the caller's thread.
  void reach(std::uint32_t positions);
  const float* cosines(std::uint32_t position) const {
    return cosines_.data() + std::size_t{position} * frequencies_.size();
  }
  const float* sines(std::uint32_t position) const {
    return sines_.data() + std::size_t{position} * frequencies_.size();
  }
  std::size_t bytes() const { return (cosines_.size() + sines_.size()) * sizeof(float); }

 private:
  std::vector<float> frequencies_;  ///< [head_dim / 2]
  std::uint32_t context_, reached_ = 0;
  std::vector<float> cosines_, sines_;  ///< [reached, head_dim / 2]
};

}  // namespace collm::engine
