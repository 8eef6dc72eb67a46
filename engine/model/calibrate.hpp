// Which inputs of each product are outliers: the largest magnitudes of an f32 pass over random
// tokens. Outlier channels belong to the weights, not to the text
// (docs/adr/0001-int8-activations.md), so no tokenizer and no text is needed.
#pragma once

#include <array>
#include <vector>

#include "engine/model/packed_base.hpp"

namespace collm::engine {

/// Channel indices, ascending, outlier_columns() of each.
struct outlier_channels {
  std::vector<std::array<std::vector<std::uint32_t>, matrices_count>> layers;
  std::vector<std::uint32_t> head;
};

outlier_channels calibrate(std::shared_ptr<const packed_base> f32);

}  // namespace collm::engine
