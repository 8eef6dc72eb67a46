// Walks any message by its schema, so that a field added tomorrow is covered today.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "messages/msg.hpp"
#include "tests/fuzz/message_fill.hpp"

namespace collm::fuzz {

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
