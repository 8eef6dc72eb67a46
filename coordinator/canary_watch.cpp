#include "coordinator/canary_watch.hpp"

#include <algorithm>
#include <cmath>

namespace collm::coordinator {

namespace {

// More would cost a site's training more than they sharpen the test; fewer than 16 say little.
constexpr std::uint32_t reference_max = 32;
constexpr double silent_ms = 10000, gather_ms = 2000;

double bounded(double entropy) { return std::clamp(entropy, 0.0, measured_nats_max); }

}  // namespace

void canary_watch::heard(const gate_replica& r, double now_ms) {
  const auto pool = std::min(r.pool, reference_max);
  if (pool == 0) return;
  auto& s = sites_[r.site];
  const bool takes_over = s.measures.empty() || now_ms - s.heard_ms > silent_ms / 2;
  if (takes_over) s.measures = r.replica;
  if (s.measures != r.replica) return;
  s.pool = pool;
  s.heard_ms = now_ms;
}

std::optional<gate_request> canary_watch::task_for(const std::string& replica) const {
  for (const auto& [site, s] : sites_)
    if (s.measures == replica && !s.over && s.have < s.pool)
      return gate_request{.from = s.have, .count = s.pool - s.have};
  return std::nullopt;
}

result<void> canary_watch::take(const reference_answer& a) {
  const auto at = sites_.find(a.site);
  if (at == sites_.end())
    return error{errc::not_found, "the canary asked nothing of site '" + a.site + "'"};
  auto& s = at->second;
  if (!a.failure.empty()) {
    failure_ = a.site + ": " + a.failure;
    return {};
  }
  if (a.entropies.size() != a.entropies_before.size())
    return error{errc::bad_request,
                 "cross entropies of both versions are of the same sequences, not " +
                     std::to_string(a.entropies.size()) + " and " +
                     std::to_string(a.entropies_before.size())};
  if (a.from > s.have)
    return error{errc::conflict, a.site + " goes on at sequence " + std::to_string(s.have) +
                                     ", not " + std::to_string(a.from)};
  const auto end = std::min<std::size_t>(a.entropies.size(), s.pool - std::min(s.pool, a.from));
  s.over = a.from + a.entropies.size() < s.pool;
  for (std::size_t i = s.have - a.from; i < end; ++i) {
    ++s.have;
    not_finite_ |= !std::isfinite(a.entropies[i]);
    if (!std::isfinite(a.entropies_before[i])) continue;  // nothing to compare with
    auto& of_site = entropies_[a.site];
    of_site.canary.push_back(bounded(a.entropies[i]));
    of_site.serving.push_back(bounded(a.entropies_before[i]));
  }
  return {};
}

/// Whether all that will come of the reference set has come.
bool canary_watch::complete(double now_ms) const {
  if (now_ms - began_ms_ < gather_ms) return false;
  return std::all_of(sites_.begin(), sites_.end(), [&](const auto& at) {
    const auto& s = at.second;
    return s.over || s.have >= s.pool || now_ms - s.heard_ms > silent_ms;
  });
}

canary_verdict canary_watch::judge(canary_traffic traffic, double now_ms) const {
  const double elapsed = now_ms - began_ms_;
  traffic.all.not_finite |= not_finite_;
  if (!failure_.empty()) return {.decision = canary_decision::roll_back, .reason = failure_};
  const bool waits = !traffic.all.not_finite && elapsed < options_.time_max_ms && !complete(now_ms);
  if (waits) return {};
  return judge_canary(options_, traffic, entropies_, elapsed);
}

std::string canary_line(const canary_verdict& v, const canary_counts& c) {
  return v.reason + " (" + std::to_string(c.count) + " answers, " + std::to_string(c.bad) +
         " bad; serving " + std::to_string(c.count_before) + ", " + std::to_string(c.bad_before) +
         " bad)";
}

}  // namespace collm::coordinator
