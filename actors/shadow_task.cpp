#include "actors/shadow_task.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace collm::actors {

std::string to_note(const shadow_task& t) {
  std::string out;
  for (const std::int64_t number :
       {std::int64_t{t.round}, std::int64_t{t.attempt}, std::int64_t{t.step}, t.tokens,
        std::int64_t{t.cursor.epoch}, std::int64_t{t.cursor.place}})
    out += (out.empty() ? "" : " ") + std::to_string(number);
  return out;
}

result<shadow_task> task_of_note(std::string_view note) {
  std::array<std::int64_t, 6> numbers{};
  const char* at = note.data();
  const char* const end = at + note.size();
  for (auto& number : numbers) {
    while (at != end && *at == ' ') ++at;
    const auto parsed = std::from_chars(at, end, number);
    if (parsed.ec != std::errc() || number < 0)
      return error{errc::corrupt, "the checkpoint's note is not a shadow's: " + std::string(note)};
    at = parsed.ptr;
  }
  const auto small = [&](std::size_t i) { return static_cast<std::uint32_t>(numbers[i]); };
  return shadow_task{small(0), small(1), small(2), numbers[3], {small(4), small(5)}};
}

std::string shadow_name(std::string replica, const std::string& adapter) {
  std::replace(replica.begin(), replica.end(), '/', '-');
  return replica + "." + adapter;
}

std::vector<float> values_of(const std::vector<engine::factor>& factors) {
  std::vector<float> out;
  for (const auto& f : factors) out.insert(out.end(), f.values.begin(), f.values.end());
  return out;
}

std::vector<std::uint32_t> ranks_of(const std::vector<engine::factor>& factors) {
  std::vector<std::uint32_t> out;
  for (const auto& f : factors)
    if (!f.is_b) out.push_back(f.rows);
  return out;
}

std::vector<float> change_of(const std::vector<engine::factor>& after,
                             std::span<const float> before, engine::trained_factors which) {
  std::vector<float> out;
  for (const auto& f : after) {
    const bool trained = which == engine::trained_factors::both ||
                         f.is_b == (which == engine::trained_factors::b_only);
    for (std::size_t i = 0; trained && i < f.values.size(); ++i)
      out.push_back(f.values[i] - before[i]);
    before = before.subspan(f.values.size());
  }
  return out;
}

}  // namespace collm::actors
