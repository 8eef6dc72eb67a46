// A request body to JSON: depth is checked before anything of the document is kept.
// Foreign exceptions end here.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "messages/result.hpp"

namespace collm::gateway {

/// One JSON object of at most `depth_max` nested arrays and objects (itself included). Invalid
/// UTF-8 is an error.
result<nlohmann::json> parse_object(std::string_view text, std::uint32_t depth_max);

}  // namespace collm::gateway
