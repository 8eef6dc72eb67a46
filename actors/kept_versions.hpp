// What a node serves, kept for the process that comes after this one: a site goes on without its
// head. Decides when it is kept and says once what hinders it. A part of the node actor; its
// thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "actors/node.hpp"

namespace collm::actors {

class kept_versions {
 public:
  using warning = std::function<void(const char* kind, const std::string& why)>;

  kept_versions(const node_deps& deps, warning warn)
      : on_(deps.served), factors_of_(deps.factors), warn_(std::move(warn)) {}

  /// What served in the process before; empty: nothing, or it cannot be read, which is told. Its
  /// factors are factors(), if a round made them.
  msg<schema::VersionList> list();
  /// Of one of list(). not_found, io: as the disk says.
  result<std::vector<std::byte>> factors(const std::string& digest) const {
    return on_->factors(digest);
  }
  /// What factors() gave are not that version's: written again when it serves.
  void unfit(const std::string& digest) { unfit_.insert(digest); }

  /// One of list() begins to load.
  void resuming() { ++resuming_; }
  /// And it serves.
  void resumed() { --resuming_; }
  /// Or no replica could load it.
  void not_loaded() {
    --resuming_;
    whole_ = false;
  }
  /// list(), or one of it, cannot be had any more.
  void not_resumed(const std::string& why);
  /// What serves has changed.
  void changed() { changed_ = true; }
  /// The registry's list is known. Until then what could not be resumed stays kept: its hindrance
  /// may pass.
  void heard_registry() { heard_registry_ = true; }
  /// Each slot, so that many changes of one are kept once. A disk that takes nothing is told of
  /// once; the node serves on.
  void keep(const std::map<version_id, node_state::resident>& versions);

 private:
  using serving = std::map<version_id, const node_state::resident*>;
  result<void> keep_factors(const serving& versions);
  result<void> keep_list(const serving& versions);

  std::shared_ptr<store::served_versions> on_;
  std::function<std::vector<float>(const engine::adapter&)> factors_of_;
  warning warn_;
  std::size_t resuming_ = 0;
  bool whole_ = true;  ///< all that was kept serves again
  bool heard_registry_ = false;
  bool changed_ = false;
  std::set<std::string> unfit_;  ///< digests
  std::string hindrance_;        ///< to keeping; empty: none
};

}  // namespace collm::actors
