#include "messages/msg.hpp"

namespace collm {

std::shared_ptr<const word_buffer> flatten(capnp::MessageBuilder& builder) {
  auto flat = std::make_shared<word_buffer>();
  auto segments = builder.getSegmentsForOutput();
  flat->count = capnp::computeSerializedSizeInWords(segments);
  flat->words = std::make_unique_for_overwrite<capnp::word[]>(flat->count);
  // Stream framing: segment count - 1, then each size in words, 32-bit little-endian, padded to a
  // word.
  auto* table = reinterpret_cast<std::uint32_t*>(flat->words.get());
  std::size_t entry = 0;
  table[entry++] = static_cast<std::uint32_t>(segments.size() - 1);
  for (auto segment : segments) table[entry++] = static_cast<std::uint32_t>(segment.size());
  if (entry % 2 != 0) table[entry++] = 0;
  auto* to = flat->words.get() + entry / 2;
  for (auto segment : segments) {
    std::memcpy(to, segment.begin(), segment.size() * sizeof(capnp::word));
    to += segment.size();
  }
  return flat;
}

result<std::shared_ptr<const word_buffer>> take_bytes(std::span<const std::byte> bytes,
                                                      const limits& bounds) {
  if (bytes.size() > bounds.frame_bytes_max) {
    return error{errc::too_large, "message of " + std::to_string(bytes.size()) +
                                      " bytes; at most " + std::to_string(bounds.frame_bytes_max) +
                                      " are accepted"};
  }
  if (bytes.empty() || bytes.size() % sizeof(capnp::word) != 0) {
    return error{errc::corrupt, "a Cap'n Proto message is a whole number of 8-byte words, not " +
                                    std::to_string(bytes.size()) + " bytes"};
  }
  auto flat = std::make_shared<word_buffer>();
  flat->count = bytes.size() / sizeof(capnp::word);
  flat->words = std::make_unique_for_overwrite<capnp::word[]>(flat->count);
  std::memcpy(static_cast<void*>(flat->words.get()), bytes.data(), bytes.size());
  return std::shared_ptr<const word_buffer>(std::move(flat));
}

}  // namespace collm
