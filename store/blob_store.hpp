// Bytes by their SHA-256: updates, sums, adapter factors. Written whole or not at all, and checked
// whenever they are read: a damaged blob is an error that names it and is never served.
// Owner: one actor's thread. Files: <folder>/<first digit>/<digest>, and
// <folder>/incoming/<digest> for what is still coming.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "store/disk.hpp"

namespace collm::store {

/// A blob whose bytes were checked when it was opened; any place of it may be read.
class blob_reader {
 public:
  blob_reader(open_file file, std::filesystem::path name, std::uint64_t bytes)
      : file_(std::move(file)), name_(std::move(name)), bytes_(bytes) {}
  std::uint64_t bytes() const { return bytes_; }
  result<void> read(std::uint64_t at, std::span<std::byte> out) {
    return read_at(file_, name_, at, out);
  }

 private:
  open_file file_;
  std::filesystem::path name_;
  std::uint64_t bytes_;
};

class blob_store {
 public:
  /// Makes `folder` where it is missing. bytes_max: of all blobs and of what is coming.
  static result<std::unique_ptr<blob_store>> open(const std::filesystem::path& folder,
                                                  std::uint64_t bytes_max, disk& on = real_disk());

  /// Stores bytes and returns their digest. overloaded: the quota; io: the disk.
  result<std::string> put(std::span<const std::byte> bytes);
  bool has(const std::string& digest) const;
  /// not_found, or corrupt with the file's name.
  result<std::vector<std::byte>> get(const std::string& digest) const;
  result<blob_reader> read(const std::string& digest) const;
  result<void> remove(const std::string& digest);
  /// Removes every blob and half-come blob that is not named; returns the bytes that came free.
  result<std::uint64_t> keep_only(const std::set<std::string>& digests);

  // -- a blob that comes in chunks, also over restarts
  /// Bytes of `digest` that are here already: where its sender goes on. bad_request: no digest;
  /// overloaded: `bytes` do not fit the quota. All bytes, where the blob is complete.
  result<std::uint64_t> begin(const std::string& digest, std::uint64_t bytes);
  /// The next bytes, from `at`; returns how many are here then, which is where to go on: bytes
  /// beyond a gap are not taken, repeated ones passed over. conflict: not begun; too_large: more
  /// than begin() was told.
  result<std::uint64_t> append(const std::string& digest, std::uint64_t at,
                               std::span<const std::byte> bytes);
  /// Checks the digest and makes the blob visible. corrupt: the bytes are others; they are dropped.
  result<void> finish(const std::string& digest);

  /// Forgets what came of a blob that is not complete; of a complete one: nothing.
  result<void> drop_incoming(const std::string& digest);

  std::uint64_t bytes_used() const { return used_ + coming_; }

 private:
  blob_store(std::filesystem::path folder, std::uint64_t bytes_max, disk& on)
      : folder_(std::move(folder)), bytes_max_(bytes_max), disk_(&on) {}
  std::filesystem::path file_of(const std::string& digest) const;
  std::filesystem::path incoming_of(const std::string& digest) const;
  result<std::string> digest_of_file(const std::filesystem::path& file) const;
  result<void> room_for(std::uint64_t bytes) const;
  result<void> count();

  std::filesystem::path folder_;
  std::uint64_t bytes_max_;
  disk* disk_;
  std::uint64_t used_ = 0, coming_ = 0;            ///< bytes on the disk
  std::map<std::string, std::uint64_t> expected_;  ///< of what is coming
};

}  // namespace collm::store
