// A node that the head did not start: its folder, and how it joins with a token. The folder holds
// all that it needs to start again: key and certificates (link/), the manifest that its head gave
// it (cluster.yaml), where its head is (link/head.address), its site's data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "messages/result.hpp"

namespace collm::deploy {

/// What a node of that name is to run: the head's manifest without the admin key and other sites'
/// tenants and data, its state in the node's own folder.
result<std::string> manifest_for(const std::string& yaml, const std::string& node);
/// "[::1]" for "::1": how a host stands before a port.
std::string host_in_address(const std::string& host);

/// Joins with the text of a token; the node's name. `folder` empty: one of that name in the current
/// folder. Blocking.
struct joined_node {
  std::string name, site, head;
  std::filesystem::path folder;
};
result<joined_node> join_cluster(const std::string& token, std::filesystem::path folder);

/// Where the node of this folder finds its head.
result<std::string> head_address(const std::filesystem::path& folder);
/// A number above all that this folder's node has used before, kept there.
result<std::uint64_t> next_incarnation(const std::filesystem::path& folder);

}  // namespace collm::deploy
