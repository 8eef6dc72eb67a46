// multipart/form-data (RFC 7578): the fields of an upload. Pure; the parts point into the body.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"

namespace collm::gateway {

struct form_part {
  std::string name;
  std::string file_name;  ///< empty: a plain field
  std::string_view content;
};

inline constexpr std::size_t form_parts_max = 32;
inline constexpr std::size_t form_head_bytes_max = 8u << 10;  ///< headers of one part

/// bad_request: not this type, or malformed, with the place; too_large: too many parts.
result<std::vector<form_part>> parse_form(std::string_view content_type, std::string_view body);

}  // namespace collm::gateway
