// A spawn plan on screen and as JSON. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "cli/console.hpp"
#include "deploy/plan.hpp"

namespace collm::cli {

std::string plan_text(const deploy::spawn_plan& plan, const console& io);
json plan_json(const deploy::spawn_plan& plan);

/// "1.5 GiB"
std::string size_text(double bytes);

}  // namespace collm::cli
