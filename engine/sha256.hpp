// SHA-256 over many pieces, for digests of adapters and for the prefix cache's chains. One object a
// thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace collm::engine {

class sha256 {
 public:
  using digest = std::array<std::uint8_t, 32>;
  sha256();

  void add(const void* bytes, std::size_t count);
  void add_number(std::uint64_t number);
  /// Preceded by its length: ("ab", "c") and ("a", "bc") differ.
  void add_text(std::string_view text);
  /// Ends the hash; the object starts a new one.
  digest finish();

 private:
  struct freed {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, freed> context_;
};

std::string to_hex(const sha256::digest& digest);

/// Digest of `bytes` as lower-case hex.
std::string sha256_hex(std::span<const std::uint8_t> bytes);

}  // namespace collm::engine
