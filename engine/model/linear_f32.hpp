// The reference product in f32, by libtorch: the one place of engine/model that calls it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace collm::engine {

/// y[r][o] = sum_k x[r][k] w[o][k] for o in [first, last). x: rows x_stride apart; w: [out, in];
/// rows of y y_stride apart. Its summation order depends on `rows`: the bit law does not hold here.
void product_f32(const float* x, std::size_t x_stride, std::uint32_t rows, std::uint32_t in,
                 const float* w, std::uint32_t first, std::uint32_t last, float* y,
                 std::size_t y_stride);

/// dx[r][k] = sum_o dy[r][o] w[o][k]: the same product back. dy: rows dy_stride apart; rows of dx
/// dx_stride apart.
void product_f32_back(const float* dy, std::size_t dy_stride, std::uint32_t rows, std::uint32_t out,
                      const float* w, std::uint32_t in, float* dx, std::size_t dx_stride);

/// Makes libtorch compute on the calling thread alone: the team divides the work.
void use_one_torch_thread();

}  // namespace collm::engine
