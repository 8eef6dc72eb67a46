// The product back through int8 tiles in plain C++: sixteen inputs by 512 outputs are turned once
// and serve all rows. Included by training_portable.cpp.
#pragma once

#include <cmath>

#include "engine/kernels/training_kernels.hpp"

namespace collm::engine {
namespace {

constexpr std::uint32_t vector_inputs = 16;

/// [group of 4 outputs][16 inputs][4 outputs], and what the bias of the gradients adds to each sum.
struct turned_block {
  alignas(64) std::int8_t weights[stretch_groups * group_bytes];
  std::int32_t correction[vector_inputs];
};

/// sums[i] = sum over the groups' outputs of x times turned weights of input i; sums may wrap.
void accumulate_back(const std::uint8_t* x, const std::int8_t* weights, std::uint32_t groups,
                     std::uint32_t (&sums)[vector_inputs]) {
  for (auto& s : sums) s = 0;
  for (std::uint32_t g = 0; g < groups; ++g, x += panel_bytes, weights += group_bytes)
    for (std::uint32_t i = 0; i < vector_inputs; ++i)
      for (std::uint32_t o = 0; o < group_inputs; ++o)
        sums[i] += static_cast<std::uint32_t>(x[o] * weights[i * group_inputs + o]);
}

void turn_block(const linear_s8& w, std::uint32_t tile, std::uint32_t tiles, std::uint32_t first,
                turned_block& to) {
  for (auto& c : to.correction) c = 0;
  for (std::uint32_t t = 0; t < tiles; ++t) {
    const std::uint32_t output = (tile + t) * tile_outputs;
    for (std::uint32_t i = 0; i < vector_inputs; ++i) {
      const std::uint32_t k = first + i;
      const bool there = k / group_inputs < w.groups();
      for (std::uint32_t o = 0; o < tile_outputs; ++o) {
        const std::int8_t weight = there ? w.weight(output + o, k) : std::int8_t{0};
        to.weights[(t * 4 + o / group_inputs) * group_bytes + i * group_inputs + o % group_inputs] =
            weight;
        to.correction[i] += 128 * weight;
      }
    }
  }
}

void gemm_back(const gradient_rows& dy, std::uint32_t rows, const linear_s8& w, std::uint32_t first,
               std::uint32_t last, float* dx, std::size_t dx_stride) {
  constexpr std::uint32_t tiles_most = stretch_outputs / tile_outputs;
  turned_block block;
  for (std::uint32_t k = first; k < last; k += vector_inputs)
    for (std::uint32_t s = 0; s < stretches(w.out); ++s) {
      const std::uint32_t tile = s * tiles_most, left = w.tiles_count() - tile,
                          tiles = left < tiles_most ? left : tiles_most;
      turn_block(w, tile, tiles, k, block);
      for (std::uint32_t r = 0; r < rows; ++r) {
        std::uint32_t sums[vector_inputs];
        accumulate_back(dy.bytes + r / panel_rows * dy.panel_stride +
                            r % panel_rows * group_inputs +
                            std::size_t{s} * stretch_groups * panel_bytes,
                        block.weights, tiles * tile_outputs / group_inputs, sums);
        const float scale = dy.scale[std::size_t{r} * dy.scale_stride + s];
        float* at = dx + r * dx_stride + k;
        for (std::uint32_t i = 0; i < vector_inputs && k + i < last; ++i) {
          const auto sum =
              static_cast<std::int32_t>(sums[i] - static_cast<std::uint32_t>(block.correction[i]));
          at[i] = std::fma(static_cast<float>(sum), scale, s > 0 ? at[i] : 0.0f);
        }
      }
    }
}

}  // namespace
}  // namespace collm::engine
