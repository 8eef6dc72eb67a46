// Parses GGUF bytes that come from outside: every offset and count is checked against the bytes
// that are really there, and no allocation is sized by an unchecked count. Not the file: gguf.cpp
// maps it. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "engine/model/gguf.hpp"

namespace collm::engine {

/// Metadata and tensor directory; tensor bytes point into the parsed span.
struct gguf_directory {
  std::map<std::string, gguf_file::value> values;
  std::map<std::string, gguf_tensor> tensors;
};

/// Format: "GGUF" of ggml-org/ggml docs/gguf.md, versions 2 and 3, little endian.
result<gguf_directory> parse_gguf(std::span<const std::uint8_t> bytes);

/// Elements and bytes of one quantisation block of this type.
struct block_shape {
  std::uint32_t elements, bytes;
};
block_shape block_of(tensor_type type);

/// True for the numbers of tensor_type.
bool known_type(std::uint32_t number);

/// "F32 (0), F16 (1), ..."
std::string known_types();

/// IEEE half to float; subnormals, infinities and NaN included.
float half_to_float(std::uint16_t half);

}  // namespace collm::engine
