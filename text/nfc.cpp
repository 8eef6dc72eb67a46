#include "text/nfc.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "text/utf8.hpp"

namespace collm::text {
namespace {

// Unicode, section 3.12: Hangul syllables are numbered by their parts.
constexpr char32_t syllables = 0xAC00, leads = 0x1100, vowels = 0x1161, trails = 0x11A7;
constexpr char32_t lead_count = 19, vowel_count = 21, trail_count = 28;
constexpr char32_t syllable_count = lead_count * vowel_count * trail_count;
constexpr char32_t stray_byte = 0x110000;  // + a byte that is not UTF-8: past all code points

const decomposition* find(std::span<const decomposition> table, char32_t point) {
  const auto at = std::ranges::lower_bound(table, point, {}, &decomposition::point);
  return at != table.end() && at->point == point ? &*at : nullptr;
}

std::uint8_t combining_class(char32_t point) {
  const auto after = std::ranges::upper_bound(marks, point, {}, &mark_range::first);
  if (after == marks.begin()) return 0;
  const mark_range& range = *(after - 1);
  return point <= range.last ? range.combining_class : std::uint8_t{0};
}

void decompose(char32_t point, std::vector<char32_t>& out) {
  if (const char32_t s = point - syllables; point >= syllables && s < syllable_count) {
    out.push_back(leads + s / (vowel_count * trail_count));
    out.push_back(vowels + s % (vowel_count * trail_count) / trail_count);
    if (s % trail_count != 0) out.push_back(trails + s % trail_count);
    return;
  }
  const decomposition* step = find(composing, point);
  if (step == nullptr) step = find(decomposing, point);
  if (step == nullptr) return out.push_back(point);
  decompose(step->first, out);
  if (step->second != 0) decompose(step->second, out);
}

std::optional<char32_t> compose(char32_t first, char32_t second) {
  using pair = std::pair<char32_t, char32_t>;
  const char32_t lead = first - leads, vowel = second - vowels;
  if (first >= leads && lead < lead_count && second >= vowels && vowel < vowel_count) {
    return syllables + (lead * vowel_count + vowel) * trail_count;
  }
  const char32_t s = first - syllables, trail = second - trails;
  const bool open = first >= syllables && s < syllable_count && s % trail_count == 0;
  if (open && second > trails && trail < trail_count) return first + trail;
  static const auto by_parts = [] {
    std::vector<decomposition> table(composing.begin(), composing.end());
    std::ranges::sort(table, {}, [](const auto& d) { return pair(d.first, d.second); });
    return table;
  }();
  const auto at = std::ranges::lower_bound(by_parts, pair(first, second), {},
                                           [](const auto& d) { return pair(d.first, d.second); });
  if (at == by_parts.end() || at->first != first || at->second != second) return std::nullopt;
  return at->point;
}

struct letter {
  char32_t point;
  std::uint8_t combining_class;
};

// Marks after one starter in the order of their classes; stable, as UAX 15 asks.
void order_marks(std::vector<letter>& letters) {
  for (auto from = letters.begin(); from != letters.end();) {
    from = std::find_if(from, letters.end(), [](letter l) { return l.combining_class != 0; });
    const auto to =
        std::find_if(from, letters.end(), [](letter l) { return l.combining_class == 0; });
    std::stable_sort(from, to,
                     [](letter a, letter b) { return a.combining_class < b.combining_class; });
    from = to;
  }
}

std::vector<letter> compose_all(const std::vector<letter>& letters) {
  std::vector<letter> out;
  std::size_t starter = letters.size();  // none yet
  for (const letter l : letters) {
    const bool next_to_it = out.size() == starter + 1;
    if (starter < out.size() && (next_to_it || out.back().combining_class < l.combining_class)) {
      if (const auto both = compose(out[starter].point, l.point)) {
        out[starter].point = *both;
        continue;
      }
    }
    if (l.combining_class == 0) starter = out.size();
    out.push_back(l);
  }
  return out;
}

}  // namespace

bool nfc_at_once(std::string_view text) {
  // U+0300 is CC 80: no byte from CC up, no code point from U+0300 up.
  return std::ranges::all_of(text, [](char c) { return static_cast<std::uint8_t>(c) < 0xCC; });
}

std::string to_nfc(std::string_view text) {
  std::vector<char32_t> points;
  points.reserve(text.size());
  while (!text.empty()) {
    const utf8_step step = utf8_next(text);
    if (step.state == utf8_state::whole) {
      decompose(step.point, points);
      text.remove_prefix(step.size);
    } else {
      points.push_back(stray_byte + static_cast<std::uint8_t>(text[0]));
      text.remove_prefix(1);
    }
  }
  std::vector<letter> letters(points.size());
  std::ranges::transform(points, letters.begin(), [](char32_t p) {
    return letter{p, combining_class(p)};
  });
  order_marks(letters);
  std::string out;
  for (const letter l : compose_all(letters)) {
    if (l.point < stray_byte) {
      utf8_append(out, l.point);
    } else {
      out.push_back(static_cast<char>(l.point - stray_byte));
    }
  }
  return out;
}

}  // namespace collm::text
