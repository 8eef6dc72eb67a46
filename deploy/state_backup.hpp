// Backup and restore of a head's state: which files of <stateDir> are what. Sites' own data, their
// checkpoints and logs stay where they are: a backup holds nothing that a site trained on.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "deploy/manifest.hpp"
#include "messages/result.hpp"
#include "store/backup.hpp"

namespace collm::deploy {

/// <stateDir> of this manifest, absolute. bad_request: the manifest does not parse.
result<std::filesystem::path> state_dir_of(std::string_view yaml,
                                           const std::filesystem::path& base_dir);

/// What a restore made, and who is not in it.
struct restored_head {
  store::backup_size size;
  std::vector<std::string> join_anew;  ///< nodes elsewhere, by the manifest that was running
};

/// Makes the state folder from a backup, but for the list of certificates that the head accepts: it
/// may be older than a revocation. The head's own nodes are put on it again as it starts, those
/// elsewhere join anew with a token.
result<restored_head> restore_head(const std::filesystem::path& from,
                                   const std::filesystem::path& state_dir);

/// Registry, rounds and jobs at one common instant, the rounds' blobs, the link's keys and the
/// manifest that runs, copied into the new folder `to`; the head may run meanwhile.
result<store::backup_size> back_up_head(const std::filesystem::path& state_dir,
                                        const std::filesystem::path& to);

}  // namespace collm::deploy
