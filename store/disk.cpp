#include "store/disk.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace collm::store {

namespace {

constexpr mode_t only_owner = 0600;

/// The wall where the file system's exceptions become errors.
template <class Iterator>
result<std::vector<found_file>> listed(const std::filesystem::path& folder) {
  std::error_code ignored;  // whatever hinders to look, it is no folder to us
  if (!std::filesystem::is_directory(folder, ignored))
    return error{errc::not_found, folder.string() + " is no folder"};
  std::vector<found_file> found;
  try {
    for (const auto& entry : Iterator(folder))
      if (entry.is_regular_file()) found.push_back({entry.path(), entry.file_size()});
  } catch (const std::filesystem::filesystem_error& e) {
    return error{errc::io, "cannot list " + folder.string() + ": " + e.what()};
  }
  std::sort(found.begin(), found.end(), [](auto& a, auto& b) { return a.path < b.path; });
  return found;
}

}  // namespace

result<std::vector<found_file>> files_in(const std::filesystem::path& folder) {
  return listed<std::filesystem::directory_iterator>(folder);
}

result<std::vector<found_file>> files_below(const std::filesystem::path& folder) {
  return listed<std::filesystem::recursive_directory_iterator>(folder);
}

result<void> remove_file(const std::filesystem::path& file) {
  std::error_code failed;
  std::filesystem::remove(file, failed);
  if (failed) return error{errc::io, "cannot remove " + file.string() + ": " + failed.message()};
  return {};
}

result<void> make_folder(const std::filesystem::path& folder) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return error{errc::io, "cannot make " + folder.string() + ": " + failed.message()};
  return {};
}

error failure_of_file(const std::filesystem::path& file, const std::string& doing) {
  return {errc::io, "cannot " + doing + " " + file.string() + ": " + std::strerror(errno)};
}

open_file::~open_file() {
  if (fd_ >= 0) ::close(fd_);
}

result<open_file> disk::create(const std::filesystem::path& file, bool append) {
  const int fd = ::open(file.c_str(),
                        O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), only_owner);
  if (fd < 0) return failure_of_file(file, "create");
  return open_file(fd);
}

result<void> disk::write(const open_file& to, const std::filesystem::path& file,
                         std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto n = ::write(to.fd(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failure_of_file(file, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

result<void> disk::sync(const open_file& of, const std::filesystem::path& file) {
  if (::fsync(of.fd()) != 0) return failure_of_file(file, "make durable");
  return {};
}

result<void> disk::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return failure_of_file(to, "rename to");
  const auto folder = to.parent_path();
  const open_file names(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (names.fd() < 0 || ::fsync(names.fd()) != 0) return failure_of_file(folder, "make durable");
  return {};
}

result<void> disk::replace(const std::filesystem::path& file,
                           std::initializer_list<std::span<const std::byte>> parts) {
  auto half = file;
  half += ".half";
  const auto written = [&]() -> result<void> {
    auto to = create(half, false);
    if (!to) return to.failure();
    for (const auto& part : parts)
      if (auto done = write(*to, half, part); !done) return done;
    if (auto done = sync(*to, half); !done) return done;
    return rename(half, file);
  }();
  // What is half written says nothing, and its room may be what is short.
  if (!written) ::unlink(half.c_str());
  return written;
}

disk& real_disk() {
  static disk the_disk;
  return the_disk;
}

result<void> read_at(const open_file& from, const std::filesystem::path& file, std::uint64_t at,
                     std::span<std::byte> out) {
  while (!out.empty()) {
    const auto n = ::pread(from.fd(), out.data(), out.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failure_of_file(file, "read");
    if (n == 0) return error{errc::corrupt, file.string() + " ends at byte " + std::to_string(at)};
    out = out.subspan(static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
  }
  return {};
}

result<open_file> open_to_read(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0) return open_file(fd);
  if (errno == ENOENT) return error{errc::not_found, file.string() + " does not exist"};
  return failure_of_file(file, "open");
}

result<std::vector<std::byte>> read_whole(const std::filesystem::path& file,
                                          std::uint64_t bytes_max) {
  auto from = open_to_read(file);
  if (!from) return from.failure();
  std::error_code failed;
  const auto size = std::filesystem::file_size(file, failed);
  if (failed) return error{errc::io, "cannot read " + file.string() + ": " + failed.message()};
  if (size > bytes_max) return error{errc::corrupt, file.string() + " is too long"};
  std::vector<std::byte> all(size);
  if (auto read = read_at(*from, file, 0, all); !read) return read.failure();
  return all;
}

}  // namespace collm::store
