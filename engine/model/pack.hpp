// From a model file to an image of weights, f32 or int8 with outlier columns found by a short
// calibration. Int8 holds one layer in f32 at a time. Any thread; seconds of work, no state.
#pragma once

#include <functional>
#include <memory>

#include "engine/model/model_source.hpp"
#include "engine/model/packed_base.hpp"

namespace collm::engine {

/// An image in memory and the facts for its file.
struct packed_image {
  base_facts facts;
  std::shared_ptr<std::uint8_t> memory;
  std::uint64_t bytes = 0;
};

/// Every tensor dequantised; q and k rows in Hugging Face's order, so that PEFT factors fit as they
/// are; norms hold the whole gain. A missing, misshapen or unknown tensor is refused by name, and
/// one with NaN or infinite numbers. `over` is asked before each tensor; true: cancelled.
result<packed_image> pack_f32(const model_source& from, std::string digest,
                              const std::function<bool()>& over);

/// The same weights in symmetric int8 with one scale an output row. Products whose source has four
/// bits a weight keep four (docs/adr/0007-four-bits.md).
result<packed_image> pack_int8(const model_source& from, std::string digest,
                               const std::function<bool()>& over);

}  // namespace collm::engine
