#include "coordinator/round_policy.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace collm::coordinator {

namespace {

constexpr std::string_view names[] = {"inference_only", "static_split", "coserve_fill"};
constexpr double deadline_part = 0.9;  // of the deadline, for steps: the rest is for the upload
constexpr double wait_after_void_ms = 1000, wait_max_ms = 60000;
constexpr std::size_t shadows_max = 8192;

/// Of `replicas`, how many only train.
std::size_t trainers_of(double share, std::size_t replicas) {
  return static_cast<std::size_t>(std::ceil(share * static_cast<double>(replicas)));
}

std::string percent(double share) { return std::to_string(std::lround(share * 100)) + " %"; }

}  // namespace

std::string_view to_string(training_policy p) { return names[static_cast<std::size_t>(p)]; }

result<training_policy> training_policy_of(std::string_view name) {
  for (std::size_t i = 0; i < std::size(names); ++i)
    if (names[i] == name) return static_cast<training_policy>(i);
  return error{errc::bad_request, "policy '" + std::string(name) +
                                      "' is not known; inference_only, static_split and "
                                      "coserve_fill are"};
}

result<std::set<std::string>> static_split_of(
    const std::map<std::string, std::vector<std::string>>& replicas_by_site, double share) {
  if (std::find(std::begin(split_shares), std::end(split_shares), share) == std::end(split_shares))
    return error{errc::bad_request,
                 "static_split takes a share of 0.25, 0.5 or 0.75, not " + std::to_string(share)};
  std::set<std::string> out;
  for (const auto& [site, replicas] : replicas_by_site) {
    const auto train = trainers_of(share, replicas.size());
    if (train >= replicas.size()) {
      std::size_t right = 1;
      while (trainers_of(share, right) >= right) ++right;
      return error{errc::bad_request,
                   "static_split " + percent(share) + " leaves site '" + site + "' (" +
                       std::to_string(replicas.size()) + " replicas) none that serves; give it " +
                       std::to_string(right) + " replicas, or choose coserve_fill"};
    }
    auto sorted = replicas;
    std::sort(sorted.begin(), sorted.end());
    out.insert(sorted.end() - static_cast<std::ptrdiff_t>(train), sorted.end());
  }
  return out;
}

std::uint32_t steps_for(const round_terms& t, const shadow_view& s) {
  if (s.train_samples == 0) return 0;
  if (!(s.tokens_per_s > 0)) return t.steps;
  const double tokens = deadline_part * s.tokens_per_s * t.deadline_ms / 1000;
  const double steps = std::floor(tokens / std::max(1u, t.batch_tokens));
  return static_cast<std::uint32_t>(std::min<double>(t.steps, steps));
}

void round_policy::heard(const shadow_view& s, double now_ms) {
  if (!shadows_.contains(s.replica) && shadows_.size() >= shadows_max) return;
  const auto known = shadows_.try_emplace(s.replica, seen{s, now_ms, now_ms}).first;
  known->second.view = s;
  known->second.heard_ms = now_ms;
}

std::uint64_t round_policy::samples() const {
  std::uint64_t sum = 0;
  for (const auto& [name, s] : shadows_) sum += s.view.train_samples;
  return sum;
}

void round_policy::opened(std::uint32_t round) {
  newest_ = std::max(newest_, round);
  running_ = newest_ > last_ended_;
  quorum_since_ms_ = -1;
  for (const auto& m : std::exchange(planned_, {}))
    if (const auto at = shadows_.find(m.client); at != shadows_.end())
      at->second.asked_ms = planned_ms_;
}

void round_policy::ended(std::uint32_t round, bool promoted, bool voided, double now_ms) {
  newest_ = std::max(newest_, round);
  if (round <= last_ended_) return;
  last_ended_ = round;
  running_ = newest_ > last_ended_;
  if (voided) {
    // A round that all decline is over at once: the next waits longer and longer.
    const double wait = wait_after_void_ms * std::pow(2.0, std::min(voided_, 10u));
    not_before_ms_ = now_ms + std::min(wait, wait_max_ms);
    ++voided_;
    return;
  }
  voided_ = 0;
  gainless_ = promoted ? 0 : gainless_ + 1;
  samples_then_ = samples();
}

std::vector<planned_member> round_policy::members(double now_ms) const {
  std::vector<planned_member> out;
  for (const auto& [name, s] : shadows_) {
    if (now_ms - s.heard_ms > options_.fresh_ms) continue;
    const bool trains =
        options_.policy == training_policy::coserve_fill || options_.trainers.contains(name);
    if (!trains || s.view.train_samples == 0) continue;
    auto steps = steps_for(options_.terms, s.view);
    if (steps == 0 && now_ms - s.asked_ms >= options_.slow_again_ms) steps = 1;
    if (steps > 0) out.push_back({name, steps});
  }
  return out;
}

std::vector<planned_member> round_policy::next(double now_ms, bool asked) {
  if (options_.policy == training_policy::inference_only || running_ || now_ms < not_before_ms_)
    return {};
  if (gainless_ >= gainless_max && samples() > samples_then_) gainless_ = 0;
  if (exhausted() && !asked) return {};
  auto out = members(now_ms);
  if (out.size() < options_.terms.quorum) {
    quorum_since_ms_ = -1;
    return {};
  }
  if (quorum_since_ms_ < 0) quorum_since_ms_ = now_ms;
  // Others may be about to join: a round with all of them is worth a short wait.
  const bool all = options_.replicas > 0 && out.size() >= options_.replicas;
  if (!all && now_ms - quorum_since_ms_ < options_.gather_ms) return {};
  planned_ = out;
  planned_ms_ = now_ms;
  return out;
}

}  // namespace collm::coordinator
