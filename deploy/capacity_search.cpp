#include "deploy/capacity_search.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

namespace collm::deploy {
namespace {

std::string shown(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string told(const std::vector<capacity_trial>& trials) {
  std::string out;
  for (const auto& t : trials)
    out += (out.empty() ? "" : ", ") + shown("%.2f/s ", t.per_s) +
           shown("%.0f %% of ", 100 * t.attainment) + std::to_string(t.requests);
  return out;
}

}  // namespace

result<found_capacity> find_capacity(const capacity_range& r,
                                     const std::function<result<capacity_trial>(double)>& measure) {
  found_capacity out;
  double low = r.floor_per_s, high = r.ceiling_per_s;
  const auto keeps = [&](double per_s) -> result<bool> {
    const auto seen = measure(per_s);
    if (!seen) return seen.failure();
    out.trials.push_back(*seen);
    return seen->attainment >= r.attainment;
  };
  for (std::uint32_t i = 0; i < r.trials; ++i) {
    const double per_s = std::sqrt(low * high);
    const auto kept = keeps(per_s);
    if (!kept) return kept.failure();
    (*kept ? low : high) = per_s;
  }
  if (low == r.floor_per_s) {
    const auto kept = keeps(low);
    if (!kept) return kept.failure();
    if (!*kept)
      return error{errc::conflict,
                   "no capacity: not even " + shown("%.2f", low) + " requests/s keep " +
                       shown("%.0f", 100 * r.attainment) + " % of their promises (" +
                       told(out.trials) +
                       "): a quiet machine or a larger --tpot-factor would be right"};
  }
  if (high == r.ceiling_per_s)
    return error{errc::conflict, "the capacity lies above " + shown("%.2f", low) +
                                     " requests/s, where the search ends (" + told(out.trials) +
                                     "): a smaller --tpot-factor or more --minutes would be right"};
  out.per_s = low;
  return out;
}

}  // namespace collm::deploy
