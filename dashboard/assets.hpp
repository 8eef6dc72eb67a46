// The built page, embedded in the binary: at run time no Node.js and no outside request.
#pragma once

#include <span>

#include "gateway/asset.hpp"

namespace collm::dashboard {

/// All files below /dashboard/.
std::span<const gateway::asset> assets();

}  // namespace collm::dashboard
