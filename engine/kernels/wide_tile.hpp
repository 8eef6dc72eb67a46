// Tiles of four bits made wide, for the paths without AVX-512. Included by gemm_<path>.hpp.
#pragma once

#include <cstring>

#include "engine/kernels/kernels.hpp"

namespace collm::engine {
namespace {

void widen_block(const std::uint8_t* block, std::int8_t* to) {
  std::uint16_t steps[group_bytes], least[group_bytes];
  for (std::uint32_t i = 0; i < group_bytes; ++i) {
    const auto* scale = block + four_bit_levels_bytes + i / group_inputs * sizeof(four_bit_scale);
    std::memcpy(&steps[i], scale, 2);
    std::memcpy(&least[i], scale + 2, 2);
  }
  for (std::uint32_t j = 0; j < 4; ++j)
    for (std::uint32_t i = 0; i < group_bytes; ++i) {
      const std::uint8_t two = block[j * group_bytes + i];
      to[j * group_bytes + i] = four_bit_scale{steps[i], least[i]}.weight(two & 15u);
      to[(j + 4) * group_bytes + i] = four_bit_scale{steps[i], least[i]}.weight(two >> 4);
    }
}

/// A tile's bytes: where they lie, or widened to `to`, which has wide_tile_bytes().
const std::int8_t* wide_tile(const linear_s8& w, std::uint32_t index, std::int8_t* const to) {
  const std::int8_t* tile = w.tile(index);
  if (!w.four_bit) return tile;
  std::memcpy(to, tile, w.hi_bytes());
  const auto* block = reinterpret_cast<const std::uint8_t*>(tile) + w.hi_bytes();
  for (std::uint32_t k = 0; k < w.in; k += four_bit_inputs, block += four_bit_block_bytes)
    widen_block(block, to + w.hi_bytes() + std::size_t{k} * tile_outputs);
  return to;
}

}  // namespace
}  // namespace collm::engine
