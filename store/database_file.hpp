// Opening one of our SQLite files: durable, ours, and of a release that we know. Inside store/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "store/sqlite.hpp"

namespace collm::store {

struct database_kind {
  std::int64_t application_id = 0;  ///< in the file's head: a file of ours, of this kind
  /// What each release added, in order: a file of an older one is brought up to date.
  std::span<const char* const> releases;
};

/// Opens or makes `file`, journalled ahead and synced at every commit. A damaged or foreign file is
/// refused by name (corrupt) and never written; so is one of a newer release (conflict).
result<database> open_database(const std::filesystem::path& file, const database_kind& kind);

/// Opens a file that is there, to read and lock: its schema is not looked at. Statements wait that
/// long for its owner's locks.
result<database> open_existing(const std::filesystem::path& file, int lock_wait_ms);

/// Looks through an existing database, which its owner may have open, and changes nothing. corrupt:
/// what is damaged; io: it cannot be read.
result<void> check_database(const std::filesystem::path& file);

}  // namespace collm::store
