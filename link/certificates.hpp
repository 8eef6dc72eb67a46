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
/// What a node's certificate shows: "edge-a.node/5f0c1a2b3c4d5e6f". The id tells the certificates
/// of one node apart; the head accepts only those that it knows, each for the site that it was made
/// for (link/node_book.hpp).
struct shown_name {
  std::string name, id;
};
std::string to_shown_name(const std::string& name, const std::string& id);
shown_name split_name(const std::string& shown);        ///< id empty: there is none
inline constexpr std::size_t certificate_id_bytes = 8;  ///< random; hex in the name
/// A further name in it, for people: "5f0c1a2b3c4d5e6f.kitchen.site".
std::string site_name(const std::string& id, const std::string& site);

/// A node as its certificate names it.
struct node_identity {
  std::string name, site;
};

/// Makes in `folder` (created, 0700) what is absent or in the last third of its life: authority,
/// the head's certificate, one for each of `nodes`, which are those that the head itself starts;
/// checks what is there: names, signature, validity, key belongs to certificate, keys private. A
/// refusal names the file and says what would be right.
result<void> ensure_certificates(const std::filesystem::path& folder, const std::string& cluster,
                                 const std::vector<node_identity>& nodes);

/// Checks one side's files, as its process starts, and finishes an install() that was interrupted.
result<void> check_certificate(const tls_files& files, const std::string& common_name);

/// The id in a node's certificate; empty: an older release made it.
result<std::string> certificate_id(const std::filesystem::path& certificate);

/// Puts a key and its certificate (PEM) in place of what is there. A stop in between leaves the old
/// pair or the new one, never a mixture, once settle() has run.
result<void> install(const tls_files& files, const std::string& key,
                     const std::string& certificate);
result<void> settle(const tls_files& files);

/// Names become file names and parts of certificates, where '/' and ',' mean something else.
bool is_plain_name(const std::string& name);

/// Makes the folder of keys and certificates, for its owner only.
result<void> make_private_folder(const std::filesystem::path& folder);

}  // namespace collm::link
