// Which inputs of each product are outliers: the largest magnitudes of an f32 pass over random
// tokens. Outlier channels belong to the weights, not to the text
// (docs/adr/0001-int8-activations.md), so no tokenizer and no text is needed.
#pragma once

#include <vector>

#include "engine/model/decoder.hpp"

namespace collm::engine {

/// The same tokens on every machine, so the same image from the same file; at most a context.
std::vector<std::int32_t> calibration_tokens(const model_shape& shape);

/// One pass over `f32`, whose vocabulary is the calibration's tokens in their order.
void calibrate(std::shared_ptr<const packed_base> f32, input_observer& observer);

/// Largest magnitude of every input channel of one product.
class channel_magnitudes {
 public:
  void record(const float* x, std::uint32_t in);
  /// The outlier_columns() largest, ascending.
  std::vector<std::uint32_t> outliers() const;

 private:
  std::vector<float> most_;
};

}  // namespace collm::engine
