// Adapter versions and their lineage, durable. A number is given once and never reused; promote and
// rollback are one transaction each. Small interface: SQLite, in memory, and faulty in tests.
// Owner: the registry actor's thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

/// Whether an operator, the gate or the canary may move a version so. rejected and rolled_back are
/// final; a retired one comes back only by promotion or rollback.
bool may_move(version_state from, version_state to);
std::string_view to_string(version_state s);

/// One update that a version was made of.
struct lineage_update {
  std::string digest;       ///< of the update's values, sha256 hex
  std::string node;         ///< client: the replica that trained it
  std::int64_t tokens = 0;  ///< it was trained on
  friend bool operator==(const lineage_update&, const lineage_update&) = default;
};

/// From a version to the round that made it and the updates that it is made of.
struct version_lineage {
  std::uint32_t round = 0;
  std::string strategy;  ///< as in the manifest
  std::vector<lineage_update> updates;
  friend bool operator==(const version_lineage&, const version_lineage&) = default;
};

class version_store {
 public:
  virtual ~version_store() = default;
  /// New number for a new digest; the existing row for a known (name, digest). `row.id.number` and
  /// state are ignored: a new row is a candidate.
  virtual result<version_row> add(const version_row& row) = 0;
  virtual result<std::vector<version_row>> list() = 0;
  virtual result<std::optional<version_row>> find(const version_id& id) = 0;
  /// candidate | canary | draining | retired → serving; the version that served → draining; the
  /// verdict (what gate and canary said, for people) is kept with it: one transaction. rejected and
  /// rolled_back are final.
  virtual result<version_row> promote(const version_id& id, const std::string& verdict = "") = 0;
  /// Any other move that may_move allows, with its verdict; to the state that it has: nothing.
  virtual result<version_row> move(const version_id& id, version_state to,
                                   const std::string& verdict = "") = 0;
  /// The serving version → rolled_back, its parent (or the last that served before it) → serving.
  /// Returns the new serving row.
  virtual result<version_row> rollback(const std::string& name) = 0;
  /// draining | serving | candidate → retired.
  virtual result<version_row> retire(const version_id& id) = 0;
  /// What the version was made of; told again: replaced, in one transaction.
  virtual result<void> set_lineage(const version_id& id, const version_lineage& lineage) = 0;
  virtual result<std::optional<version_lineage>> lineage(const version_id& id) = 0;
  /// The last verdict on a version; empty: none.
  virtual result<std::string> verdict(const version_id& id) = 0;
};

/// Opens or creates `file`. A damaged or foreign database is refused by name and never written.
result<std::unique_ptr<version_store>> open_version_store(const std::filesystem::path& file);

}  // namespace collm::store
