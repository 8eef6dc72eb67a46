// The calls by which durable files are written, in one place, so that a test can make any of them
// fail. Every error names the file and what the system said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "messages/result.hpp"

namespace collm::store {

/// A descriptor with one owner.
class open_file {
 public:
  open_file() = default;
  explicit open_file(int fd) : fd_(fd) {}
  open_file(open_file&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  open_file& operator=(open_file&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~open_file();
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

class disk {
 public:
  virtual ~disk() = default;
  virtual result<open_file> create(const std::filesystem::path& file, bool append);
  virtual result<void> write(const open_file& to, const std::filesystem::path& file,
                             std::span<const std::byte> bytes);
  virtual result<void> sync(const open_file& of, const std::filesystem::path& file);
  /// Replaces `to` at once, and makes the name durable.
  virtual result<void> rename(const std::filesystem::path& from, const std::filesystem::path& to);

  /// All of the above: `file` holds `parts` one after the other, or what it held before.
  result<void> replace(const std::filesystem::path& file,
                       std::initializer_list<std::span<const std::byte>> parts);
};

/// The machine's own disk.
disk& real_disk();

/// Fills `out` from place `at`. corrupt: the file ends before.
result<void> read_at(const open_file& from, const std::filesystem::path& file, std::uint64_t at,
                     std::span<std::byte> out);
result<open_file> open_to_read(const std::filesystem::path& file);
/// All of it. not_found: there is no such file; corrupt: it has more than `bytes_max`.
result<std::vector<std::byte>> read_whole(const std::filesystem::path& file,
                                          std::uint64_t bytes_max = UINT64_MAX);

struct found_file {
  std::filesystem::path path;
  std::uint64_t bytes = 0;
};
/// Regular files of a folder, by name. not_found: there is no such folder.
result<std::vector<found_file>> files_in(const std::filesystem::path& folder);
/// The same with all folders in it.
result<std::vector<found_file>> files_below(const std::filesystem::path& folder);
result<void> remove_file(const std::filesystem::path& file);
result<void> make_folder(const std::filesystem::path& folder);

error failure_of_file(const std::filesystem::path& file, const std::string& doing);

}  // namespace collm::store
