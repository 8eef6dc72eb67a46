#include "demo/scorer.hpp"

namespace collm::demo {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

}  // namespace

std::optional<bool> is_right(scorer by, std::string_view served, std::string_view reference) {
  switch (by) {
    case scorer::exact:
      return trimmed(served) == trimmed(reference);
    case scorer::contains:
      return served.find(trimmed(reference)) != std::string_view::npos;
    case scorer::none:
      break;
  }
  return std::nullopt;
}

std::string_view to_string(scorer by) {
  switch (by) {
    case scorer::exact:
      return "exact";
    case scorer::contains:
      return "contains";
    case scorer::none:
      break;
  }
  return "none";
}

std::optional<scorer> scorer_named(std::string_view name) {
  for (const scorer s : {scorer::exact, scorer::contains, scorer::none})
    if (to_string(s) == name) return s;
  return std::nullopt;
}

}  // namespace collm::demo
