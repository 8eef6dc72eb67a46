// Fills and walks any message by its schema, so that a field added tomorrow is covered today.
#pragma once

#include <capnp/dynamic.h>
#include <capnp/schema.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "messages/msg.hpp"

namespace collm::fuzz {

/// Sets every field to a value of its own; `variant` picks the member of each union.
void fill(capnp::DynamicStruct::Builder to, unsigned variant);

/// Reads everything that a reader of this schema can reach; the number of values, so that nothing
/// is optimised away.
std::uint64_t walk(capnp::DynamicStruct::Reader from);

/// One kind of message that travels: takes bytes as they come from outside, and walks them if they
/// are accepted.
struct kind {
  const char* name;
  std::string (*sample)(unsigned variant);                        ///< flat bytes, all fields set
  result<std::string> (*read)(std::span<const std::byte> bytes);  ///< as text; error: refused
};
const std::vector<kind>& kinds();

}  // namespace collm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
