#include "engine/model/linear_f32.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <numeric>

namespace collm::engine {
namespace {

at::Tensor view(const float* data, std::int64_t rows, std::int64_t columns,
                std::size_t row_stride) {
  const auto stride = static_cast<std::int64_t>(row_stride);
  return at::from_blob(const_cast<float*>(data), {rows, columns}, {stride, 1},
                       at::TensorOptions(at::kFloat));
}

}  // namespace

void product_f32(const float* x, std::size_t x_stride, std::uint32_t rows, std::uint32_t in,
                 const float* w, std::uint32_t first, std::uint32_t last, float* y,
                 std::size_t y_stride) {
  if (rows == 0 || first == last) return;
  const c10::InferenceMode no_graph;
  const auto left = view(x, rows, in, x_stride);
  const auto right = view(w + std::size_t{first} * in, last - first, in, in);
  auto to = view(y + first, rows, last - first, y_stride);
  at::mm_out(to, left, right.t());
}

void product_f32_back(const float* dy, std::size_t dy_stride, std::uint32_t rows, std::uint32_t out,
                      const float* w, std::uint32_t in, float* dx, std::size_t dx_stride) {
  if (rows == 0) return;
  const c10::InferenceMode no_graph;
  const auto left = view(dy, rows, out, dy_stride), right = view(w, out, in, in);
  auto to = view(dx, rows, in, dx_stride);
  at::mm_out(to, left, right);
}

void lora_down_f32(const float* x, const float* a, std::uint32_t in, std::uint32_t rank,
                   float scale, float* t) {
  for (std::uint32_t j = 0; j < rank; ++j, a += in)
    t[j] = scale * std::transform_reduce(a, a + in, x, 0.0f);
}

void lora_up_f32(const float* t, const float* b, std::uint32_t rank, std::uint32_t first,
                 std::uint32_t last, float* y) {
  for (std::uint32_t o = first; o < last; ++o)
    y[o] += std::transform_reduce(t, t + rank, b + std::size_t{o} * rank, 0.0f);
}

void use_one_torch_thread() {
  if (at::get_num_threads() != 1) at::set_num_threads(1);
}

}  // namespace collm::engine
