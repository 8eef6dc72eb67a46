// State holds what a site trains on, hashes of keys and the link's keys: its user's alone.
#pragma once

#include <filesystem>

#include "messages/result.hpp"

namespace collm::deploy {

/// Makes `folder` where it is lacking and closes it to other users; what this process writes from
/// now on is closed to them, too.
result<void> keep_private(const std::filesystem::path& folder);

}  // namespace collm::deploy
