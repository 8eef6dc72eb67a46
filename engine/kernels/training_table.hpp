// The table of the path that includes it. Included last by training_<path>.cpp.
#pragma once

#include "engine/kernels/product_body.hpp"
#include "engine/kernels/training_body.hpp"

namespace collm::engine {
namespace {

constexpr training_table training_table_named(const char* name) {
  return {name,           quantise_gradient, gemm_back,         product,
          rms_norm_back,  swiglu_back,       geglu_back,        softmax,
          softmax_back,   cross_entropy_row, scale_row,         add_scaled,
          sum_of_squares, adam_row,          to_bounded_halves, from_halves};
}

}  // namespace
}  // namespace collm::engine
