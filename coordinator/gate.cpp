#include "coordinator/gate.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>

#include "coordinator/statistics.hpp"

namespace collm::coordinator {

namespace {

constexpr std::uint32_t sequences_min = 8;  // fewer say too little for a test
constexpr double error_rate = 0.05;         // of the whole gate, over its looks
constexpr double site_confidence = 0.90;
constexpr const char* guard_name = "(guard)";

std::uint32_t sum_of(const std::map<std::string, std::uint32_t>& pools) {
  std::uint64_t sum = 0;
  for (const auto& [site, pool] : pools) sum += pool;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, UINT32_MAX));
}

site_effect effect_of(const std::string& site, std::span<const double> d, double loss_max) {
  const auto s = spread_of(d);
  site_effect e{.site = site, .count = s.count, .mean = s.mean, .bound = s.mean};
  e.weak = s.count < sequences_min;
  if (!e.weak) e.bound = s.mean - half_width(s, site_confidence);
  e.veto = s.count > 0 && !(e.bound > -loss_max);
  return e;
}

void append(std::vector<double>& to, const std::vector<double>& differences) {
  for (const double d : differences)
    to.push_back(std::clamp(d, -measured_nats_max, measured_nats_max));
}

bool all_finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

}  // namespace

std::string_view to_string(gate_decision d) {
  constexpr std::string_view names[] = {"waiting", "promote", "reject", "undecided",
                                        "operator_only"};
  return names[static_cast<std::size_t>(d)];
}

gate::gate(const gate_options& o, std::map<std::string, std::uint32_t> pools,
           std::uint32_t guard_pool)
    : options_(o), pools_(std::move(pools)), guard_pool_(guard_pool) {
  plan_looks();
}

result<gate> gate::open(const gate_options& o, std::map<std::string, std::uint32_t> pools,
                        std::uint32_t guard_pool) {
  const bool rising =
      std::adjacent_find(o.looks.begin(), o.looks.end(), std::greater_equal<>()) == o.looks.end();
  if (o.looks.empty() || !rising || o.looks.front() == 0)
    return error{errc::bad_request, "the gate's looks must rise, such as [16, 32, 64]"};
  if (pools.empty()) return error{errc::bad_request, "no site has held-out data to judge by"};
  return gate(o, std::move(pools), guard_pool);
}

void gate::plan_looks() {
  const auto pool = sum_of(pools_);
  looks_.clear();
  for (auto n : options_.looks)
    if (n < pool) looks_.push_back(n);
  const auto last = std::min(options_.looks.back(), pool);
  if (looks_.empty() || looks_.back() != last) looks_.push_back(last);
}

std::uint32_t gate::needed(const std::string& site, std::size_t look) const {
  const auto at = pools_.find(site);
  const std::uint64_t pool = sum_of(pools_);
  if (at == pools_.end() || pool == 0) return 0;
  const std::uint64_t part = std::uint64_t{looks_[look]} * at->second;
  const std::uint64_t need = (part + pool - 1) / pool;
  const std::uint64_t there = ended_.contains(site) ? values_.at(site).size() : need;
  return static_cast<std::uint32_t>(std::min(need, there));
}

/// Sequences that have a difference or may get one.
std::uint64_t gate::judgeable() const {
  std::uint64_t sum = 0;
  for (const auto& [site, pool] : pools_)
    sum += ended_.contains(site) ? values_.at(site).size() : pool;
  return sum;
}

std::uint32_t gate::guard_needed(std::size_t look) const {
  return std::min(looks_[look], guard_pool_);
}

bool gate::complete(std::size_t look) const {
  return guard_.size() >= guard_needed(look) &&
         std::all_of(pools_.begin(), pools_.end(), [&](auto& p) {
           const auto at = values_.find(p.first);
           const std::size_t count = at == values_.end() ? 0 : at->second.size();
           return count >= needed(p.first, look);
         });
}

/// The first look that still waits; the last one where none does.
std::size_t gate::current_look() const {
  std::size_t look = 0;
  while (look + 1 < looks_.size() && complete(look)) ++look;
  return look;
}

std::map<std::string, std::uint32_t> gate::wanted() const {
  std::map<std::string, std::uint32_t> out;
  if (judge().decision != gate_decision::waiting) return out;
  const auto look = current_look();
  for (const auto& [site, pool] : pools_) {
    const auto at = values_.find(site);
    const auto have = at == values_.end() ? 0 : static_cast<std::uint32_t>(at->second.size());
    if (const auto need = needed(site, look); need > have) out[site] = need - have;
  }
  return out;
}

std::uint32_t gate::guard_wanted() const {
  if (judge().decision != gate_decision::waiting) return 0;
  const auto have = static_cast<std::uint32_t>(guard_.size());
  const auto need = guard_needed(current_look());
  return need > have ? need - have : 0;
}

result<void> gate::add(const std::string& site, const std::vector<double>& differences) {
  const auto pool = pools_.find(site);
  if (pool == pools_.end()) return error{errc::not_found, "the gate does not wait for " + site};
  auto& values = values_[site];
  if (values.size() + differences.size() > pool->second)
    return error{errc::conflict,
                 site + " sent more differences than its pool of " + std::to_string(pool->second)};
  if (!all_finite(differences)) fail(site, "a cross entropy that is no finite number");
  append(values, differences);
  return {};
}

result<void> gate::add_guard(const std::vector<double>& differences) {
  if (guard_.size() + differences.size() > guard_pool_)
    return error{errc::conflict, "more differences than the guard set has sequences: " +
                                     std::to_string(guard_pool_)};
  if (!all_finite(differences)) fail(guard_name, "a cross entropy that is no finite number");
  append(guard_, differences);
  return {};
}

void gate::end_of(const std::string& site) {
  if (!pools_.contains(site)) return;
  values_.try_emplace(site);
  ended_.insert(site);
}

void gate::fail(const std::string& site, const std::string& why) {
  // The same reason whichever failed first.
  const auto text = site + ": " + why;
  if (failure_.empty() || text < failure_) failure_ = text;
}

void gate::give_up(const std::string& site) {
  if (pools_.erase(site) == 0) return;
  values_.erase(site);
  ended_.erase(site);
  silent_.push_back(site);
  std::sort(silent_.begin(), silent_.end());
  plan_looks();
}

std::vector<site_effect> gate::effects(std::size_t look) const {
  std::vector<site_effect> out;
  for (const auto& [site, pool] : pools_) {
    const auto at = values_.find(site);
    if (at == values_.end()) continue;
    const auto n = std::min<std::size_t>(needed(site, look), at->second.size());
    out.push_back(effect_of(site, {at->second.data(), n}, options_.worst_site));
  }
  if (const auto n = guard_needed(look); n > 0)
    out.push_back(effect_of(guard_name, {guard_.data(), n}, options_.guard));
  return out;
}

gate_verdict gate::judge_look(std::size_t look) const {
  std::vector<double> pooled;
  for (const auto& [site, pool] : pools_) {
    const auto& values = values_.at(site);
    pooled.insert(pooled.end(), values.begin(), values.begin() + needed(site, look));
  }
  const auto s = spread_of(pooled);
  const double confidence = 1 - error_rate / static_cast<double>(looks_.size());
  gate_verdict v{.look = looks_[look], .count = s.count, .mean = s.mean};
  const double half = half_width(s, confidence);
  v.lower = s.mean - half;
  v.upper = s.mean + half;
  v.sites = effects(look);
  std::string vetoes;
  for (const auto& e : v.sites)
    if (e.veto) vetoes += (vetoes.empty() ? "" : ", ") + e.site;
  const bool last = look + 1 == looks_.size();
  if (v.upper < 0) {
    v.decision = gate_decision::reject;
    v.reason = "worse than the serving version";
  } else if (v.lower > options_.margin && vetoes.empty()) {
    v.decision = gate_decision::promote;
    v.reason = "better than the serving version";
  } else if (last && !vetoes.empty()) {
    v.decision = gate_decision::reject;
    v.reason = "veto of " + vetoes;
  } else if (last) {
    v.decision = gate_decision::undecided;
    v.reason = "neither better nor worse by enough";
  } else {
    v.reason = vetoes.empty() ? "neither better nor worse by enough yet" : "veto of " + vetoes;
  }
  return v;
}

gate_verdict gate::judge() const {
  gate_verdict v;
  if (!failure_.empty()) {
    v.decision = gate_decision::reject;
    v.reason = failure_;
  } else if (judgeable() < sequences_min) {
    v.decision = gate_decision::operator_only;
    v.reason = "fewer than 8 held-out sequences: only an operator promotes";
  } else {
    v.reason = "waits for the sites";
    for (std::size_t look = 0; look < looks_.size() && complete(look); ++look) {
      v = judge_look(look);
      if (v.decision != gate_decision::waiting) break;
    }
  }
  v.silent = silent_;
  return v;
}

}  // namespace collm::coordinator
