#include "federation/round_sequence.hpp"

#include <algorithm>

namespace collm::federation {

namespace {

bool moved(const round_outcome& o) { return o.state == round_state::serving || o.undecided; }

std::uint32_t undecided_in_a_row(std::span<const round_outcome> history) {
  std::uint32_t count = 0;
  for (auto at = history.rbegin(); at != history.rend(); ++at) {
    if (at->state == round_state::voided) continue;
    if (!at->undecided) break;
    ++count;
  }
  return count;
}

}  // namespace

next_round plan_next(const strategy& s, std::span<const round_outcome> history,
                     std::uint32_t serving_version) {
  next_round next{.parent = serving_version};
  if (!history.empty()) next.round = history.back().round + 1;
  std::uint32_t position = 0;
  bool begun = false;
  for (const auto& o : history) {
    if (o.state == round_state::voided) continue;
    begun = begun || moved(o);
    position += begun ? 1 : 0;
  }
  next.phase = position / std::max(1u, s.phase_rounds);

  const auto last = std::find_if(history.rbegin(), history.rend(),
                                 [](auto& o) { return o.state != round_state::voided; });
  if (last == history.rend()) return next;
  const auto in_a_row = undecided_in_a_row(history);
  if (in_a_row > 0 && in_a_row <= undecided_in_a_row_max && last->serving == serving_version) {
    next.parent = last->version;
  } else {
    next.keep_moments = last->state == round_state::serving && last->version == serving_version;
  }
  return next;
}

}  // namespace collm::federation
