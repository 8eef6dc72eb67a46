// What a node serves, kept at the node: a process that starts while its head is away goes on with
// what the one before served. Written whole or not at all. Owner: the node actor's thread. Files:
// <folder>/versions, and <folder>/<digest>.factors of what only the head could send again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "store/disk.hpp"

namespace collm::store {

class served_versions {
 public:
  static constexpr std::uint64_t factors_bytes_max = 1ull << 30;  ///< of one version

  /// `base_digest`: of the base whose versions they are.
  served_versions(std::filesystem::path folder, std::string base_digest, disk& on = real_disk())
      : folder_(std::move(folder)), base_digest_(std::move(base_digest)), disk_(&on) {}

  bool has_factors(const std::string& digest) const;
  /// Factors of the version with this digest. bad_request: no digest; io: the disk.
  result<void> keep_factors(const std::string& digest, std::span<const std::byte> bytes);
  /// The list in place of the one before. It names nothing that is not there, if factors were kept
  /// first.
  result<void> keep_list(std::span<const std::byte> list);
  /// Factors of versions other than `digests`, and what was half written, go.
  result<void> keep_only(const std::set<std::string>& digests);

  /// not_found: none yet, or one of another base; corrupt: damaged.
  result<std::vector<std::byte>> list() const;
  /// not_found, or what lies there: the version's own digest tells whether that is whole.
  result<std::vector<std::byte>> factors(const std::string& digest) const;

 private:
  std::filesystem::path list_file() const { return folder_ / "versions"; }
  result<std::filesystem::path> factors_file(const std::string& digest) const;
  std::filesystem::path folder_;
  std::string base_digest_;
  disk* disk_;
};

}  // namespace collm::store
