// JSON from outside: its nesting is bounded before anything of it is kept, because the library
// copies, writes and compares documents by recursion, so that a deep one would end the process.
#pragma once

#include <cstdint>
#include <string_view>

#include "messages/limits.hpp"

namespace collm {

/// Whether arrays and objects stand at most `depth_max` deep in each other, the outermost counted
/// as one. Of a text that is no JSON this says nothing.
inline bool nests_within(std::string_view text, std::uint32_t depth_max) {
  std::uint32_t depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == '[' || c == '{')) {
      if (++depth > depth_max) return false;
    } else if (!quoted && (c == ']' || c == '}')) {
      depth -= depth > 0 ? 1 : 0;
    }
  }
  return true;
}

/// The document; discarded where `text` is no JSON or nests deeper than limits::json_depth_max.
/// `Json`: one of the library's types, which is at home with the caller.
template <class Json>
Json parse_json(std::string_view text) {
  if (!nests_within(text, limits{}.json_depth_max)) return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace collm
