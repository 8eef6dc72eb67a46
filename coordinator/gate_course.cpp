#include "coordinator/gate_course.hpp"

#include <algorithm>

namespace collm::coordinator {

namespace {

// Of a site's sequences, so many without a difference: its own model cannot take its data.
constexpr std::uint32_t passed_over_max = 256;

/// What of `values`, which begin at place `from`, lies beyond the `have` that are known.
result<std::vector<double>> fresh_part(const std::vector<double>& values, std::uint32_t from,
                                       std::uint32_t have, const std::string& whose) {
  if (from > have)
    return error{errc::conflict, whose + " goes on at sequence " + std::to_string(have) + ", not " +
                                     std::to_string(from)};
  const auto known = std::min<std::size_t>(have - from, values.size());
  return std::vector<double>(values.begin() + static_cast<std::ptrdiff_t>(known), values.end());
}

}  // namespace

result<gate_course> gate_course::open(const gate_options& o,
                                      const std::vector<gate_replica>& replicas,
                                      std::uint32_t guard_pool, const gate_patience& patience,
                                      double now_ms) {
  std::map<std::string, site_state> sites;
  for (const auto& r : replicas) {
    if (r.pool == 0) continue;
    auto& s = sites[r.site];
    if (r.pool < s.pool || (r.pool == s.pool && s.evaluator < r.replica)) continue;
    s = {r.replica, r.pool, 0, now_ms, now_ms, 0};
  }
  std::map<std::string, std::uint32_t> pools;
  // Sites say how many sequences they have: more than the last look takes is no more weight.
  const auto most = o.looks.empty() ? 0 : o.looks.back();
  for (const auto& [site, s] : sites) pools[site] = std::min(s.pool, most);
  auto opened = gate::open(o, std::move(pools), guard_pool);
  if (!opened) return opened.failure();
  gate_course course(std::move(*opened));
  course.sites_ = std::move(sites);
  course.patience_ = patience;
  return course;
}

void gate_course::heard(const gate_replica& r, double now_ms) {
  const auto at = sites_.find(r.site);
  if (at == sites_.end()) return;
  auto& s = at->second;
  const bool takes_over =
      s.evaluator != r.replica && now_ms - s.heard_ms > patience_.silent_ms / 2 && r.pool >= s.pool;
  if (takes_over) s.evaluator = r.replica;
  if (s.evaluator == r.replica) s.heard_ms = now_ms;
}

std::string gate_course::guard_site() const { return sites_.empty() ? "" : sites_.begin()->first; }

std::optional<gate_request> gate_course::task_for(const std::string& replica) const {
  const auto wanted = gate_.wanted();
  for (const auto& [site, s] : sites_) {
    if (s.evaluator != replica) continue;
    gate_request r{.from = s.next, .guard_from = guard_have_};
    if (const auto at = wanted.find(site); at != wanted.end()) r.count = at->second;
    if (site == guard_site()) r.guard_count = gate_.guard_wanted();
    if (r.count > 0 || r.guard_count > 0) return r;
  }
  return std::nullopt;
}

result<void> gate_course::take_guard(const gate_answer& a) {
  auto fresh = fresh_part(a.guard, a.guard_from, guard_have_, "the guard set");
  if (!fresh) return fresh.failure();
  if (auto added = gate_.add_guard(*fresh); !added) return added;
  guard_have_ += static_cast<std::uint32_t>(fresh->size());
  return {};
}

/// The site's own sequences. A site that has looked at all of them has no more to say.
result<void> gate_course::take_own(const gate_answer& a, site_state& s) {
  auto fresh = fresh_part(a.differences, a.from, s.next, a.site);
  if (!fresh) return fresh.failure();
  const auto count = static_cast<std::uint32_t>(a.differences.size());
  const auto read = std::max(a.read, count);
  const auto end = std::min<std::uint64_t>(std::uint64_t{a.from} + read, s.pool);
  const bool ended = a.from == s.next && read == 0 && gate_.wanted().contains(a.site);
  if (ended && a.guard.empty()) gate_.end_of(a.site);  // its set is smaller than it was
  if (end <= s.next) return {};
  // Which of its differences are known already is not to be told: it is asked for again.
  if (a.from < s.next && read > count) return {};
  if (auto added = gate_.add(a.site, *fresh); !added) return added;
  s.passed_over +=
      static_cast<std::uint32_t>(end) - s.next - static_cast<std::uint32_t>(fresh->size());
  s.next = static_cast<std::uint32_t>(end);
  if (s.next >= s.pool || s.passed_over > passed_over_max) gate_.end_of(a.site);
  return {};
}

result<void> gate_course::take(const gate_answer& a, double now_ms) {
  const auto at = sites_.find(a.site);
  if (at == sites_.end())
    return error{errc::not_found, "the gate does not wait for site '" + a.site + "'"};
  if (!a.guard.empty() && a.site != guard_site())
    return error{errc::conflict, "site '" + a.site + "' was not asked for the guard set"};
  auto& s = at->second;
  if (!a.failure.empty()) {
    gate_.fail(a.site, a.failure);
    return {};
  }
  const auto differences = [&] { return s.next - s.passed_over + guard_have_; };
  const auto known = differences();
  auto taken = take_own(a, s);
  if (taken) taken = take_guard(a);
  if (differences() != known) s.progress_ms = now_ms;
  return taken;
}

void gate_course::time_passed(double now_ms) {
  const bool anybody = std::any_of(sites_.begin(), sites_.end(), [&](const auto& s) {
    return now_ms - s.second.heard_ms <= patience_.silent_ms;
  });
  if (!anybody) cut_off_ms_ = now_ms;  // from all of them: that is no site's fault
  for (auto at = sites_.begin(); at != sites_.end();) {
    auto& s = at->second;
    const bool asked = task_for(s.evaluator).has_value();
    if (!asked) s.progress_ms = now_ms;
    const bool given_up =
        asked && (now_ms - std::max(s.heard_ms, cut_off_ms_) > patience_.silent_ms ||
                  now_ms - std::max(s.progress_ms, cut_off_ms_) > patience_.answer_ms);
    if (given_up) gate_.give_up(at->first);
    at = given_up ? sites_.erase(at) : std::next(at);
  }
}

}  // namespace collm::coordinator
