// The cluster's private certificate authority: who may speak on the link. `collm up` makes what is
// absent; nothing here opens a socket. Any thread; two processes at once are serialised by a lock
// file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace collm::link {

/// What one side of the link shows and trusts; PEM files.
struct tls_files {
  std::filesystem::path
      authority;  ///< certificate of the cluster's own CA: nothing else is trusted
  std::filesystem::path certificate;
  std::filesystem::path key;  ///< readable by its owner only
};

tls_files head_files(const std::filesystem::path& folder);
tls_files node_files(const std::filesystem::path& folder, const std::string& node);

std::string head_common_name(const std::string& cluster);  ///< "head.demo"
std::string node_common_name(const std::string& node);     ///< "edge-a.node"

/// Makes in `folder` (created, 0700) what is absent: authority, the head's certificate, one a node;
/// checks what is there: names, signature, validity, key belongs to certificate, keys private. A
/// refusal names the file and says what would be right.
result<void> ensure_certificates(const std::filesystem::path& folder, const std::string& cluster,
                                 const std::vector<std::string>& nodes);

/// Checks one side's files, as its process starts.
result<void> check_certificate(const tls_files& files, const std::string& common_name);

}  // namespace collm::link
