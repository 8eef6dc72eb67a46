// What libtorch computes for us: the dense products of the f32 reference. They live in a library of
// their own that is loaded when f32 is first wanted, since libtorch takes 68 MiB of every process
// that holds it. linear_f32.hpp has the contracts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace collm::engine {

struct torch_products {
  void (*use_one_thread)();
  void (*product)(const float* x, std::size_t x_stride, std::uint32_t rows, std::uint32_t in,
                  const float* w, std::uint32_t first, std::uint32_t last, float* y,
                  std::size_t y_stride);
  void (*product_back)(const float* dy, std::size_t dy_stride, std::uint32_t rows,
                       std::uint32_t out, const float* w, std::uint32_t in, float* dx,
                       std::size_t dx_stride);
};

inline constexpr const char* torch_products_library = "libcollm_torch.so";
inline constexpr const char* torch_products_symbol = "collm_torch_products";

}  // namespace collm::engine
