#include "text/unicode_class.hpp"

#include <algorithm>
#include <array>

namespace collm::text {
namespace {

char_class search(char32_t point) {
  const auto after = std::upper_bound(class_ranges.begin(), class_ranges.end(), point,
                                      [](char32_t p, const class_range& r) { return p < r.first; });
  if (after == class_ranges.begin()) return char_class::other;
  const class_range& range = *(after - 1);
  return point <= range.last ? range.kind : char_class::other;
}

}  // namespace

char_class classify(char32_t point) {
  // Half of all text is below U+0800 (Latin, Greek, Cyrillic, Hebrew, Arabic): one load instead of
  // ten comparisons.
  static const auto near = [] {
    std::array<char_class, 0x800> kinds{};
    for (char32_t p = 0; p < kinds.size(); ++p) kinds[p] = search(p);
    return kinds;
  }();
  return point < near.size() ? near[point] : search(point);
}

}  // namespace collm::text
