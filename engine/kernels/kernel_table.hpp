// The table of the path that includes it. Included last by kernels_<path>.cpp.
#pragma once

#include "engine/kernels/attention_body.hpp"
#include "engine/kernels/rows_body.hpp"

namespace collm::engine {
namespace {

constexpr kernel_table table_named(const char* name) {
  return {name, quantise,  gemm,    dequantise_row, rms_norm,  rotate,          swiglu, geglu,
          add,  lora_down, lora_up, attend,         to_halves, exponential_row, peak};
}

}  // namespace
}  // namespace collm::engine
