// A whole file, mapped read-only and shared. Value with one owner; any thread may read the bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>

#include "messages/result.hpp"

namespace collm::engine {

class file_mapping {
 public:
  /// Refuses what is not a regular, non-empty file, by its name.
  static result<file_mapping> open(const std::filesystem::path& path);
  file_mapping(file_mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  file_mapping& operator=(file_mapping&&) = delete;
  ~file_mapping();
  std::span<const std::uint8_t> bytes() const { return {data_, size_}; }

 private:
  file_mapping(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  const std::uint8_t* data_;
  std::size_t size_;
};

}  // namespace collm::engine
