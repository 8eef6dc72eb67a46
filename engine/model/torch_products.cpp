// The library that links libtorch; see the header.
#include "engine/model/torch_products.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

namespace collm::engine {
namespace {

at::Tensor view(const float* data, std::int64_t rows, std::int64_t columns,
                std::size_t row_stride) {
  const auto stride = static_cast<std::int64_t>(row_stride);
  return at::from_blob(const_cast<float*>(data), {rows, columns}, {stride, 1},
                       at::TensorOptions(at::kFloat));
}

void product(const float* x, std::size_t x_stride, std::uint32_t rows, std::uint32_t in,
             const float* w, std::uint32_t first, std::uint32_t last, float* y,
             std::size_t y_stride) {
  const c10::InferenceMode no_graph;
  const auto left = view(x, rows, in, x_stride);
  const auto right = view(w + std::size_t{first} * in, last - first, in, in);
  auto to = view(y + first, rows, last - first, y_stride);
  at::mm_out(to, left, right.t());
}

void product_back(const float* dy, std::size_t dy_stride, std::uint32_t rows, std::uint32_t out,
                  const float* w, std::uint32_t in, float* dx, std::size_t dx_stride) {
  const c10::InferenceMode no_graph;
  const auto left = view(dy, rows, out, dy_stride), right = view(w, out, in, in);
  auto to = view(dx, rows, in, dx_stride);
  at::mm_out(to, left, right);
}

void use_one_thread() {
  if (at::get_num_threads() != 1) at::set_num_threads(1);
}

}  // namespace
}  // namespace collm::engine

extern "C" [[gnu::visibility("default")]] const collm::engine::torch_products collm_torch_products;
const collm::engine::torch_products collm_torch_products = {
    collm::engine::use_one_thread, collm::engine::product, collm::engine::product_back};
