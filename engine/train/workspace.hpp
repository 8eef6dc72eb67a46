// Memory of one unit: rows on their way through a layer, forward or back. Sized once. One engine
// thread; members of its team work on different rows, or columns.
#pragma once

#include "engine/engine.hpp"
#include "engine/kernels/line_vector.hpp"
#include "engine/kernels/training_kernels.hpp"

namespace collm::engine {

class workspace {
 public:
  workspace(const model_shape& shape, precision p, const training_options& options,
            std::uint32_t ranks);
  static std::uint64_t bytes_for(const model_shape& shape, precision p,
                                 const training_options& options, std::uint32_t ranks);
  std::uint64_t bytes() const;

  float* input(std::uint32_t row) { return input_.data() + row * input_stride; }
  float* wide(std::uint32_t row) { return wide_.data() + row * wide_stride; }
  float* input_gradient(std::uint32_t row) { return input_gradient_.data() + row * input_stride; }
  float* wide_gradient(std::uint32_t row) { return wide_gradient_.data() + row * wide_stride; }
  float* flow(std::uint32_t row) { return flow_.data() + row * flow_stride; }
  float* t_gradient(std::uint32_t row) { return t_gradient_.data() + row * t_stride; }
  float* logits(std::uint32_t row) { return logits_.data() + row * logits_stride; }

  std::size_t input_stride, wide_stride, flow_stride, t_stride, logits_stride;
  quantised_rows quantised;
  gradient_rows gradients, head_gradients;

 private:
  line_vector<float> input_, wide_, input_gradient_, wide_gradient_, flow_, t_gradient_, logits_,
      row_scales_, gradient_scales_, head_scales_;
  line_vector<std::uint8_t> quantised_bytes_, gradient_bytes_, head_bytes_;
};

}  // namespace collm::engine
