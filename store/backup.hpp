// A copy of a state folder of one instant, taken while its owner runs, and the way back. Any thread
// or process: the databases' own locks order it with the owner.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "messages/result.hpp"
#include "store/disk.hpp"

namespace collm::store {

/// What of a state folder is kept; names relative to it. What does not exist is left out.
struct backup_parts {
  std::vector<std::string> databases;  ///< SQLite files of ours: copied at one common instant
  /// Everything below is copied. Files there come whole and never change, as blobs and keys do, and
  /// stay for at least as long as a database that names them.
  std::vector<std::string> folders;
  std::vector<std::string> files;
};

struct backup_size {
  std::uint64_t files = 0, bytes = 0;
};

/// Fills `to`, which must not exist or be empty, with the parts and an index of their digests; the
/// index is written last, so a folder without one is no backup. Nobody but the owner may read it:
/// keys are among the parts. bad_request: `to` lies in `state`; conflict: it holds something;
/// corrupt: a database is damaged; unavailable: a database stayed locked; io: the disk.
result<backup_size> back_up(const std::filesystem::path& state, const backup_parts& parts,
                            const std::filesystem::path& to, disk& on = real_disk());

/// Checks every file of a backup against its index. not_found: no index; corrupt: names the file.
result<backup_size> check_backup(const std::filesystem::path& from);

/// Makes `state`, which must not exist or be empty, from a checked backup: whole or not at all, but
/// for the files `except`, by their names in it.
result<backup_size> restore(const std::filesystem::path& from, const std::filesystem::path& state,
                            disk& on = real_disk(), const std::set<std::string>& except = {});

}  // namespace collm::store
