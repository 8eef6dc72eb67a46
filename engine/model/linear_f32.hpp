// The reference products in f32, the dense ones by libtorch (torch_products.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "messages/result.hpp"

namespace collm::engine {

/// Before any product: loads libtorch, once in a process. Fails (io) by the library's path.
result<void> load_f32_products();

/// y[r][o] = sum_k x[r][k] w[o][k] for o in [first, last). x: rows x_stride apart; w: [out, in];
/// rows of y y_stride apart. Its summation order depends on `rows`: the bit law does not hold here.
void product_f32(const float* x, std::size_t x_stride, std::uint32_t rows, std::uint32_t in,
                 const float* w, std::uint32_t first, std::uint32_t last, float* y,
                 std::size_t y_stride);

/// dx[r][k] = sum_o dy[r][o] w[o][k]: the same product back. dy: rows dy_stride apart; rows of dx
/// dx_stride apart.
void product_f32_back(const float* dy, std::size_t dy_stride, std::uint32_t rows, std::uint32_t out,
                      const float* w, std::uint32_t in, float* dx, std::size_t dx_stride);

/// t[j] = scale * dot(x, a[j]); a: [rank, in].
void lora_down_f32(const float* x, const float* a, std::uint32_t in, std::uint32_t rank,
                   float scale, float* t);

/// y[o] += sum_j t[j] b[o][j] for o in [first, last); b: [out, rank].
void lora_up_f32(const float* t, const float* b, std::uint32_t rank, std::uint32_t first,
                 std::uint32_t last, float* y);

/// Makes libtorch compute on the calling thread alone: the team divides the work.
void use_one_torch_thread();

}  // namespace collm::engine
