// Builds GGUF bytes by hand, right and wrong ones: for the parser's tests and its fuzz target.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace collm::engine {

class gguf_bytes {
 public:
  gguf_bytes(std::uint32_t version, std::uint64_t tensors, std::uint64_t keys) {
    put(std::uint32_t{0x46554747}).put(version).put(tensors).put(keys);
  }
  template <class T>
  gguf_bytes& put(T value) {
    const auto at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return *this;
  }
  gguf_bytes& text(const std::string& s) {
    put(std::uint64_t{s.size()});
    bytes.insert(bytes.end(), s.begin(), s.end());
    return *this;
  }
  gguf_bytes& key_u32(const std::string& key, std::uint32_t value) {
    return text(key).put(4u).put(value);
  }
  gguf_bytes& key_text(const std::string& key, const std::string& value) {
    return text(key).put(8u).text(value);
  }
  gguf_bytes& tensor(const std::string& name, std::vector<std::uint64_t> dims, std::uint32_t type,
                     std::uint64_t offset) {
    text(name).put(static_cast<std::uint32_t>(dims.size()));
    for (auto d : dims) put(d);
    return put(type).put(offset);
  }
  gguf_bytes& data(std::size_t size) {
    while (bytes.size() % 32 != 0) bytes.push_back(0);
    bytes.insert(bytes.end(), size, 0x3c);
    return *this;
  }
  std::vector<std::uint8_t> bytes;
};

/// A small right file: one key of each kind that the format has, one F32 tensor [8].
inline gguf_bytes small_gguf() {
  gguf_bytes b(3, 1, 5);
  b.key_u32("n", 7).key_text("name", "llama");
  b.text("flag").put(7u).put(std::uint8_t{1});
  b.text("list").put(9u).put(5u).put(std::uint64_t{2}).put(std::int32_t{-1}).put(std::int32_t{2});
  b.text("words").put(9u).put(8u).put(std::uint64_t{2}).text("a").text("bc");
  return b.tensor("t", {8}, 0, 0).data(32);
}

}  // namespace collm::engine
