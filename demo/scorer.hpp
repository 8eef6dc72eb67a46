// Is a served text right? The workload file names one of these for each request. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace collm::demo {

/// exact: equal but for blanks at both ends. contains: the reference occurs in it. none: not
/// judged.
enum class scorer : std::uint8_t { exact, contains, none };

/// nullopt for a text that nobody judges.
std::optional<bool> is_right(scorer by, std::string_view served, std::string_view reference);

std::string_view to_string(scorer by);

/// By its name; nullopt for any other word.
std::optional<scorer> scorer_named(std::string_view name);

}  // namespace collm::demo
