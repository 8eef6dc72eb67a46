// int8 product in plain C++: for machines without AVX2. Included by kernels_portable.cpp.
#pragma once

#include "engine/kernels/wide_tile.hpp"

namespace collm::engine {
namespace {

/// Adds to the sums of a tile's sixteen outputs; unsigned, as they may wrap.
void accumulate(const std::uint8_t* x, const std::int8_t* w, std::uint32_t groups,
                std::uint32_t (&sums)[tile_outputs]) {
  for (std::uint32_t g = 0; g < groups; ++g)
    for (std::uint32_t i = 0; i < tile_outputs; ++i)
      for (std::uint32_t k = 0; k < group_inputs; ++k)
        sums[i] +=
            static_cast<std::uint32_t>(x[std::size_t{g} * panel_bytes + k] *
                                       w[std::size_t{g} * group_bytes + i * group_inputs + k]);
}

void gemm(const quantised_rows& x, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
          std::uint32_t last, float* y, std::size_t y_stride) {
  std::int8_t* const scratch = w.four_bit ? wide_tiles_scratch(w.wide_tile_bytes()) : nullptr;
  for (std::uint32_t o = first; o < last; o += tile_outputs) {
    const std::int8_t* tile = wide_tile(w, o / tile_outputs, scratch);
    for (std::uint32_t r = 0; r < rows; ++r) {
      const std::uint32_t panel = r / panel_rows, within = r % panel_rows * group_inputs;
      std::uint32_t sums[tile_outputs] = {};
      accumulate(x.hi + panel * x.hi_stride + within, tile, w.hi_groups(), sums);
      for (auto& s : sums) s <<= w.hi_shift;
      accumulate(x.lo + panel * x.lo_stride + within, tile + w.hi_bytes(), w.groups(), sums);
      for (std::uint32_t i = 0; i < tile_outputs && o + i < last; ++i)
        y[r * y_stride + o + i] = static_cast<float>(static_cast<std::int32_t>(
                                      sums[i] - static_cast<std::uint32_t>(w.correction[o + i]))) *
                                  w.scale[o + i] * x.scale[r];
    }
  }
}

}  // namespace
}  // namespace collm::engine
