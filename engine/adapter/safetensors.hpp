// safetensors files (an 8-byte header length, a JSON header, raw tensors), every field checked
// before a byte is used: bounds, types, shapes, gaps and overlaps. Immutable after parsing: any
// thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace collm::engine {

enum class float_type : std::uint8_t { f32, f16, bf16 };

struct stored_tensor {
  float_type type = float_type::f32;
  std::vector<std::uint64_t> shape;
  std::span<const std::uint8_t> bytes;  ///< into the parsed file
  std::uint64_t count() const;          ///< elements
};

struct safetensors_limits {
  std::uint64_t header_bytes_max = 16u << 20;
  std::uint64_t tensors_max = 65536;
  std::uint32_t dimensions_max = 8;
};

using stored_tensors = std::map<std::string, stored_tensor>;

/// `file` outlives the result. A damaged file is `corrupt`, a type that is no float `bad_request`;
/// both name the tensor.
result<stored_tensors> parse_safetensors(std::span<const std::uint8_t> file,
                                         const safetensors_limits& limits = {});

/// To f32, exactly.
std::vector<float> to_floats(const stored_tensor& tensor);

/// "[8, 576]"
std::string spell_shape(std::span<const std::uint64_t> shape);

/// A whole file of f32 tensors, in order of names.
struct outgoing_tensor {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::span<const float> values;
};
std::vector<std::uint8_t> write_safetensors(std::vector<outgoing_tensor> tensors);

}  // namespace collm::engine
