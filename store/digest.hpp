// SHA-256 as lower-case hex, of bytes at once or piece by piece.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace collm::store {

class digest_stream {
 public:
  digest_stream();
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  /// Ends the hash. 64 hex digits.
  std::string finish();

 private:
  struct freed {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, freed> context_;
};

std::string digest_of(std::span<const std::byte> bytes);
std::string digest_of(std::string_view text);

/// Whether `text` is 64 lower-case hex digits: what a file may be named after.
bool is_digest(std::string_view text);

}  // namespace collm::store
