// Adapter versions and their lineage, durable. A number is given once and never reused; promote and
// rollback are one transaction each. Small interface: SQLite, in memory, and faulty in tests.
// Owner: the registry actor's thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "messages/ids.hpp"
#include "messages/result.hpp"

namespace collm::store {

/// Values of schema::VersionState, in its order.
enum class version_state : std::uint8_t {
  candidate,
  canary,
  serving,
  draining,
  retired,
  rejected,
  rolled_back
};

struct version_row {
  version_id id;
  std::string digest;  ///< sha256 hex
  std::int32_t parent = -1;
  version_state state = version_state::candidate;
  std::uint32_t rank = 0;
  std::uint64_t bytes = 0;
  std::string source;
  std::string folder;  ///< PEFT folder, absolute; empty: made from the manifest
  std::int64_t created_unix_ms = 0;
};

class version_store {
 public:
  virtual ~version_store() = default;
  /// New number for a new digest; the existing row for a known (name, digest). `row.id.number` and
  /// state are ignored: a new row is a candidate.
  virtual result<version_row> add(const version_row& row) = 0;
  virtual result<std::vector<version_row>> list() = 0;
  virtual result<std::optional<version_row>> find(const version_id& id) = 0;
  /// candidate | canary | draining | retired → serving; the version that served → draining.
  /// rejected and rolled_back are final.
  virtual result<version_row> promote(const version_id& id) = 0;
  /// The serving version → rolled_back, its parent (or the last that served before it) → serving.
  /// Returns the new serving row.
  virtual result<version_row> rollback(const std::string& name) = 0;
  /// draining | serving | candidate → retired.
  virtual result<version_row> retire(const version_id& id) = 0;
};

/// Opens or creates `file`. A damaged or foreign database is refused by name and never written.
result<std::unique_ptr<version_store>> open_version_store(const std::filesystem::path& file);

}  // namespace collm::store
