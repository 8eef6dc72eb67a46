#include "coordinator/live_traffic.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

namespace collm::coordinator {

namespace {

constexpr std::size_t versions_kept = 8;   // of one adapter
constexpr std::size_t versions_max = 512;  // of all
constexpr std::size_t open_max = 65536;    // far beyond what a gateway lets in
constexpr double heard_lately_ms = 10000;

std::int64_t second_of(double now_ms) { return static_cast<std::int64_t>(now_ms / 1000); }

std::uint32_t narrowed(std::uint64_t n) {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(n, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

void traffic_counter::row::turn_to(std::int64_t second) {
  const auto size = static_cast<std::int64_t>(seconds);
  for (auto s = std::max(newest + 1, second - size + 1); s <= second; ++s)
    ended_in[static_cast<std::size_t>(s % size)] = 0;
  newest = std::max(newest, second);
}

/// Among `first` to `last`, the version that nobody asked for for longest.
void traffic_counter::drop_idle(rows::iterator first, rows::iterator last) {
  rows_.erase(std::min_element(
      first, last, [](const auto& a, const auto& b) { return a.second.newest < b.second.newest; }));
}

traffic_counter::row& traffic_counter::row_of(const version_id& id, double now_ms) {
  if (!rows_.contains(id)) {
    const auto first = rows_.lower_bound({id.name, 0});
    const auto last =
        std::find_if(first, rows_.end(), [&](const auto& r) { return r.first.name != id.name; });
    if (static_cast<std::size_t>(std::distance(first, last)) >= versions_kept) {
      drop_idle(first, last);
    } else if (rows_.size() >= versions_max) {
      drop_idle(rows_.begin(), rows_.end());
    }
  }
  auto& r = rows_[id];
  r.since_start.id = id;
  r.turn_to(second_of(now_ms));
  return r;
}

void traffic_counter::began(std::uint64_t key, const version_id& id, double late_at_ms,
                            double now_ms) {
  if (!open_.contains(key) && open_.size() >= open_max) return;
  row_of(id, now_ms);
  open_[key] = {id, late_at_ms};
}

void traffic_counter::ended(const version_id& id, quality how, double now_ms) {
  auto& r = row_of(id, now_ms);
  ++r.since_start.answers;
  r.since_start.bad += how == quality::good ? 0 : 1;
  r.since_start.not_finite += how == quality::not_finite ? 1 : 0;
  ++r.ended_in[static_cast<std::size_t>(second_of(now_ms)) % seconds];
}

std::vector<version_traffic> traffic_counter::view(double now_ms) const {
  std::map<version_id, std::pair<std::uint64_t, std::uint64_t>> running;  // all, late ones
  for (const auto& [key, answer] : open_) {
    auto& [all, late] = running[answer.id];
    ++all;
    late += now_ms > answer.late_at_ms ? 1 : 0;
  }
  std::vector<version_traffic> out;
  for (const auto& [id, known] : rows_) {
    auto r = known;
    r.turn_to(second_of(now_ms));
    std::uint64_t ended = 0;
    for (const auto n : r.ended_in) ended += n;
    out.push_back(r.since_start);
    out.back().requests_per_s = static_cast<double>(ended) / seconds;
    if (const auto at = running.find(id); at != running.end())
      std::tie(out.back().open, out.back().late) = at->second;
  }
  return out;
}

bool traffic_book::silent(const process& p, double now_ms) {
  return now_ms - p.heard_ms > heard_lately_ms;
}

void traffic_book::heard(const std::string& name, const std::string& site, std::uint64_t life,
                         const std::vector<version_traffic>& counts, double now_ms) {
  if (!processes_.contains(name) && processes_.size() >= processes_max)
    std::erase_if(processes_, [&](const auto& p) { return silent(p.second, now_ms); });
  if (!processes_.contains(name) && processes_.size() >= processes_max) return;
  auto& p = processes_[name];
  const bool known = p.heard_ms > 0, goes_on = known && p.life == life;
  auto& since = tally_of(name);
  since.site = site;
  if (known && !goes_on) {
    ++since.lives_ended;
    for (auto& [id, sum] : since.of) {
      const auto c = p.last.find(id);
      if (c == p.last.end() || c->second.open == 0) continue;
      sum.broken_off += c->second.open;
      ++sum.lives_ended;
    }
  }
  std::map<version_id, version_traffic> now;
  for (const auto& c : counts) {
    now[c.id] = c;
    const auto marked = since.of.find(c.id);
    if (marked != since.of.end() && c.not_finite > 0) marked->second.not_finite = true;
    if (!goes_on) continue;
    const auto before = p.last.contains(c.id) ? p.last.at(c.id) : version_traffic{};
    if (c.answers < before.answers) {  // an old word that comes late
      now[c.id] = before;
      continue;
    }
    if (marked == since.of.end()) continue;
    auto& s = marked->second;
    s.answers += c.answers - before.answers;
    s.bad += c.bad - std::min(c.bad, before.bad);
  }
  p = {site, life, std::max(now_ms, 1e-3), std::move(now)};
}

traffic_book::tally& traffic_book::tally_of(const std::string& process) {
  auto& t = since_mark_[process];
  for (const auto& id : marked_) t.of.try_emplace(id);
  return t;
}

void traffic_book::mark(const version_id& canary, const version_id& serving) {
  marked_ = {canary, serving};
  since_mark_.clear();
  for (const auto& [name, p] : processes_) {
    auto& since = tally_of(name);
    since.site = p.site;
    for (auto& [id, s] : since.of)
      if (const auto at = p.last.find(id); at != p.last.end())
        s.not_finite = at->second.not_finite > 0;
  }
}

/// Since the mark, and what runs beyond its promise by the process's last word.
traffic_book::sum traffic_book::sum_of(const std::string& process, const tally& since,
                                       const version_id& id) const {
  const auto at = since.of.find(id);
  auto out = at == since.of.end() ? sum{} : at->second;
  const auto known = processes_.find(process);
  if (known == processes_.end()) return out;
  if (const auto row = known->second.last.find(id); row != known->second.last.end()) {
    out.answers += row->second.late;
    out.bad += row->second.late;
  }
  return out;
}

canary_traffic traffic_book::traffic(const version_id& canary, const version_id& serving) const {
  struct counted {
    std::uint64_t bad = 0, count = 0, bad_before = 0, count_before = 0;
    void add(const sum& now, std::uint64_t lost, const sum& before) {
      bad += now.bad + lost;
      count += now.answers + lost;
      bad_before += before.bad;
      count_before += before.answers;
    }
    canary_counts narrow() const {
      return {.bad = narrowed(bad),
              .count = narrowed(count),
              .bad_before = narrowed(bad_before),
              .count_before = narrowed(count_before)};
    }
  };
  counted all;
  std::map<std::string, counted> by_site;
  bool not_finite = false;
  for (const auto& [process, since] : since_mark_) {
    const auto now = sum_of(process, since, canary), before = sum_of(process, since, serving);
    const auto lost = now.broken_off + since.lives_ended - now.lives_ended;
    all.add(now, lost, before);
    not_finite |= now.not_finite;
    // Who ended and had none of the canary's answers counts among all only: it may have ended by
    // others.
    const bool had_any = now.answers + now.broken_off > 0;
    if (had_any || before.answers > 0) by_site[since.site].add(now, had_any ? lost : 0, before);
  }
  canary_traffic out{.all = all.narrow()};
  out.all.not_finite = not_finite;
  for (const auto& [site, counts] : by_site) out.by_site[site] = counts.narrow();
  return out;
}

double traffic_book::requests_per_s(const std::string& adapter, double now_ms) const {
  double sum = 0;
  for (const auto& [name, p] : processes_) {
    if (silent(p, now_ms)) continue;
    for (const auto& [id, c] : p.last)
      if (id.name == adapter) sum += c.requests_per_s;
  }
  return sum;
}

}  // namespace collm::coordinator
