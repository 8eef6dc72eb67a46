// The packed base's file: one header page block (magic, version, shape, vocabulary, sizes, digest
// over itself), then the image. Written once, atomically; mapped read-only by everyone. Any thread.
#pragma once

#include <filesystem>
#include <span>
#include <utility>

#include "engine/model/packed_base.hpp"

namespace collm::engine {

/// "<digest>-<precision>-v6.base": the format version is part of the name, so an older file is left
/// alone. `wide`: model_shape::wide.
std::string base_file_name(const std::string& digest, precision p, bool wide);

/// Temporary file, fsync, rename: a reader sees the whole file or none.
result<void> write_base_file(const std::filesystem::path& path, const base_facts& facts,
                             std::span<const std::uint8_t> image);

/// Holds other processes that would pack into the same folder until it is destroyed: two files of
/// one base would be two copies in memory.
class packing_lock {
 public:
  /// Waits for its turn. `io`: the folder cannot be opened.
  static result<packing_lock> take(const std::filesystem::path& folder);
  packing_lock(packing_lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  packing_lock& operator=(packing_lock&&) = delete;
  ~packing_lock();

 private:
  explicit packing_lock(int fd) : fd_(fd) {}
  int fd_;
};

/// Maps and checks a file; `corrupt` names it and says to remove it.
result<std::shared_ptr<const packed_base>> map_base_file(const std::filesystem::path& path);

}  // namespace collm::engine
