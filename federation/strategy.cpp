#include "federation/strategy.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace collm::federation {

std::string_view to_string(aggregate_mode m) {
  constexpr std::string_view names[] = {"fedavg", "ffa", "rolora", "stack_svd"};
  return names[static_cast<std::size_t>(m)];
}

std::optional<aggregate_mode> aggregate_mode_of(std::string_view name) {
  for (const auto mode : aggregate_modes)
    if (to_string(mode) == name) return mode;
  return std::nullopt;
}

result<void> check(const strategy& s, bool unequal_ranks) {
  const bool stacked = s.aggregate == aggregate_mode::stack_svd;
  const bool robust = s.robust != robust_rule::none;
  const std::string mode(to_string(s.aggregate));
  if (s.fedbuff && (stacked || robust))
    return error{errc::bad_request, "fedbuff weighs late updates, " +
                                        (stacked ? mode : std::string("a robust rule")) +
                                        " does not: fedbuff with fedavg, ffa or rolora and without "
                                        "a robust rule would be right"};
  if (robust && (stacked || s.aggregate == aggregate_mode::fedavg))
    return error{errc::bad_request,
                 "a robust rule compares coordinates, which mean something only while the other "
                 "factor is frozen: ffa or rolora would be right, not " +
                     mode};
  if (unequal_ranks && !stacked)
    return error{errc::bad_request, "clients of unequal ranks need stack_svd, not " + mode};
  if (s.robust == robust_rule::trimmed_mean && s.trim == 0)
    return error{errc::bad_request, "trimmed_mean drops at least one update on either side"};
  return {};
}

trained_factors trained_in(const strategy& s, std::uint32_t phase) {
  if (s.aggregate == aggregate_mode::ffa) return trained_factors::b_only;
  if (s.aggregate != aggregate_mode::rolora) return trained_factors::both;
  return phase % 2 == 0 ? trained_factors::b_only : trained_factors::a_only;
}

std::int64_t update_weight(std::uint64_t tokens, std::uint32_t staleness) {
  const auto counted = static_cast<double>(std::min<std::uint64_t>(tokens, samples_max));
  return std::llround(16 * counted / std::sqrt(1.0 + staleness));
}

}  // namespace collm::federation
