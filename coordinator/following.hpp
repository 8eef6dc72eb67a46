// What a node must load or retire so that it serves what the registry says. Pure; asked by the
// node, which acts on it, and by the head, which tells whether a node is there yet.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "messages/ids.hpp"

namespace collm::coordinator {

/// A version as the registry or a node knows it.
struct known_version {
  version_id id;
  std::string digest;
  bool serving;
  bool canary;  ///< answers a share of what asks for the bare name, beside what serves
  known_version(version_id who, std::string factors, bool serves = true, bool is_canary = false)
      : id(std::move(who)), digest(std::move(factors)), serving(serves), canary(is_canary) {}
};

struct steps_to_follow {
  std::vector<version_id> load;  ///< serving by the registry, not (or with other factors) here
  /// Serving here, withdrawn there, and nothing takes its place; or other factors under a number
  /// that must be loaded.
  std::vector<version_id> retire;
  std::vector<version_id> try_out;  ///< canaries by the registry that are not here
  std::vector<version_id> give_up;  ///< canaries here that are none any more, and serve nowhere
  /// Whether it serves what it should; canaries do not keep a node from serving.
  bool done() const { return load.empty() && retire.empty(); }
};

/// Versions here that the registry does not know stay: they wait for their number. An older version
/// of a name is retired by the one that replaces it, so that the name never goes unanswered.
steps_to_follow follow(std::span<const known_version> registered,
                       std::span<const known_version> here);

/// What is wrong with the name of an adapter of a cluster whose base is `base_name`, and what would
/// be right; empty: nothing.
std::string adapter_name_fault(const std::string& name, const std::string& base_name);

}  // namespace collm::coordinator
