// Backup and restore of a head's state: which files of <stateDir> are what. Sites' own data, their
// checkpoints and logs stay where they are: a backup holds nothing that a site trained on.
#pragma once

#include <filesystem>

#include "deploy/manifest.hpp"
#include "messages/result.hpp"
#include "store/backup.hpp"

namespace collm::deploy {

/// <stateDir> of this manifest, absolute. bad_request: the manifest does not parse.
result<std::filesystem::path> state_dir_of(std::string_view yaml,
                                           const std::filesystem::path& base_dir);

/// Registry, rounds and jobs at one common instant, the rounds' blobs, the link's keys and the
/// manifest that runs, copied into the new folder `to`; the head may run meanwhile.
result<store::backup_size> back_up_head(const std::filesystem::path& state_dir,
                                        const std::filesystem::path& to);

}  // namespace collm::deploy
