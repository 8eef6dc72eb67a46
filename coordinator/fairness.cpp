#include "coordinator/fairness.hpp"

#include <algorithm>
#include <cmath>

namespace collm::coordinator {

namespace {

constexpr double claimed_most = 0.5;
// Less of the engine's time is no claim: one request, half a minute ago.
constexpr double claimed_least = 0.01;
// As much is all of it: what is asked for is counted up to there, and fades from one to the next.
constexpr double all_least = 0.9;
// The longest prompt of late is forgotten by so much with every request.
constexpr double prompt_memory = 0.95;
// A choice that is kept may be taken so often when another is asked for.
constexpr double turned_away = 0.001;
// Less than a step in all that is remembered: the tenant is forgotten.
constexpr double forgotten_ms = 1;
// Where a step alone takes most of the promise, so much of it is still taken for work.
constexpr double work_least = 0.1;
// Weight of one gap in what is known of a tenant's, and a silence that says nothing.
constexpr double gap_weight = 0.2, silent_least_ms = 500;
// Weight of one place in what is known of those who were told to come back.
constexpr double place_weight = 0.1;

double fading(double at_ms, double now_ms) {
  return std::exp((at_ms - now_ms) / tenant_times::memory_ms);
}

}  // namespace

double engine_time_ms(const step_costs& costs, double prompt_tokens, double output_tokens,
                      double tpot_slo_ms) {
  auto work = prompt_features(prompt_tokens);
  work.decodes = output_tokens;
  work.decode_context = output_tokens * prompt_tokens;
  return costs.added_ms(work) / std::max(work_least, 1 - costs.theta[0] / tpot_slo_ms);
}

tenant_times::account& tenant_times::faded(const std::string& tenant, double now_ms) {
  auto at = accounts_.find(tenant);
  if (at == accounts_.end()) {
    std::erase_if(accounts_, [&](const auto& one) {
      const auto& a = one.second;
      return (a.asked_ms + a.given_ms) * fading(a.at_ms, now_ms) < forgotten_ms;
    });
    at = accounts_.emplace(tenant, account{.at_ms = now_ms}).first;
  }
  account& a = at->second;
  const double left = fading(a.at_ms, now_ms);
  a.asked_ms *= left;
  a.given_ms *= left;
  a.at_ms = now_ms;
  return a;
}

void tenant_times::ask(const std::string& tenant, double engine_ms, double prompt_tokens,
                       double now_ms) {
  account& a = faded(tenant, now_ms);
  // All of the time: who knocks more often is not owed more, or for longer.
  a.asked_ms = std::min(a.asked_ms + engine_ms, memory_ms);
  if (a.asked_at_ms >= 0) a.gap_ms += gap_weight * (now_ms - a.asked_at_ms - a.gap_ms);
  a.asked_at_ms = now_ms;
  a.longest_prompt = std::max(prompt_tokens, prompt_memory * a.longest_prompt);
}

bool tenant_times::account::asks_still(double now_ms) const {
  return asked_at_ms >= 0 &&
         now_ms - asked_at_ms <= std::clamp(silent_gaps * gap_ms, silent_least_ms, memory_ms);
}

void tenant_times::give(const std::string& tenant, double engine_ms, double now_ms) {
  faded(tenant, now_ms).given_ms += engine_ms;
}

double tenant_times::given_ms(const std::string& tenant, double now_ms) const {
  const auto at = accounts_.find(tenant);
  return at == accounts_.end() ? 0 : at->second.given_ms * fading(at->second.at_ms, now_ms);
}

double tenant_times::turn(const std::string& tenant, double now_ms) const {
  return std::floor(given_ms(tenant, now_ms) / span_ms);
}

bool tenant_times::asks_for_all(const std::string& tenant, double now_ms) const {
  const auto at = accounts_.find(tenant);
  return at != accounts_.end() &&
         at->second.asked_ms * fading(at->second.at_ms, now_ms) >= all_least * memory_ms;
}

std::vector<tenant_times::claim> tenant_times::claims_before(const std::string& tenant,
                                                             double now_ms) const {
  const double own = given_ms(tenant, now_ms), own_turn = turn(tenant, now_ms);
  std::vector<claim> claims;
  for (const auto& [name, a] : accounts_) {
    const double left = fading(a.at_ms, now_ms);
    const double share = std::min(a.asked_ms * left, own) / memory_ms;
    if (share >= claimed_least && turn(name, now_ms) < own_turn)
      claims.push_back({name, share, a.longest_prompt, a.asks_still(now_ms) ? 1.0 : 0.0});
  }
  return claims;
}

bool tenant_times::goes_first(const std::string& tenant, double now_ms) const {
  const double own = turn(tenant, now_ms);
  return std::any_of(accounts_.begin(), accounts_.end(),
                     [&](const auto& a) { return own < turn(a.first, now_ms); });
}

double share_of(const std::vector<tenant_times::claim>& claims) { return share_later(claims, 0); }

double share_later(const std::vector<tenant_times::claim>& claims, double wait_ms) {
  double sum = 0;
  for (const auto& c : claims) sum += c.share * std::max(c.stays, fading(0, wait_ms));
  return std::min(sum, claimed_most);
}

double choices_kept(double share, double held) {
  return share <= 0 ? 0 : std::min(held, std::log(turned_away) / std::log(share));
}

prompt_backlog prompts_ahead(const std::string& tenant,
                             const std::map<std::string, prompt_backlog>& backlog,
                             const tenant_times& times, double now_ms) {
  const double turn = times.turn(tenant, now_ms);
  prompt_backlog ahead;
  for (const auto& [name, prompts] : backlog)
    if (times.turn(name, now_ms) <= turn) ahead.add(prompts);
  return ahead;
}

bool return_line::in_turn(std::uint64_t question, double now_ms) const {
  return std::any_of(places_.begin(), places_.end(),
                     [&](const place& p) { return p.in_turn(question, now_ms); });
}

void return_line::enter(std::uint64_t question, double now_ms) {
  forget_late(now_ms);
  const auto at = std::find_if(places_.begin(), places_.end(),
                               [&](const place& p) { return p.question == question; });
  if (at == places_.end()) return;
  places_.erase(at);
  learn(true);
}

std::uint32_t return_line::join(std::uint64_t question, room wanted, double now_ms, double gap_ms,
                                std::uint32_t least_ms, std::uint32_t most_ms) {
  forget_late(now_ms);
  for (place& p : places_) {
    if (p.question != question) continue;
    if (p.in_turn(question, now_ms)) p.turn_ms = now_ms + least_ms;
    return static_cast<std::uint32_t>(std::ceil(p.turn_ms - now_ms));
  }
  const double turn = std::max(now_ms + least_ms, ends_ms_);
  if (turn > now_ms + most_ms || places_.size() >= places_max) return most_ms;
  ends_ms_ = turn + std::min(gap_ms, double(most_ms));  // one wrong guess must not shut the line
  places_.push_back({question, turn, wanted});
  return static_cast<std::uint32_t>(std::ceil(turn - now_ms));
}

return_line::room return_line::kept(double now_ms, double within_ms) {
  forget_late(now_ms);
  room sum;
  for (const auto& p : places_) {
    if (p.turn_ms > now_ms + within_ms) continue;
    sum.prompt_tokens += come_ * p.wanted.prompt_tokens;
    sum.choices += come_ * p.wanted.choices;
  }
  return sum;
}

bool return_line::empty(double now_ms) {
  forget_late(now_ms);
  return places_.empty();
}

void return_line::forget_late(double now_ms) {
  const auto gone =
      std::erase_if(places_, [&](const place& p) { return p.turn_ms + late_ms < now_ms; });
  for (std::size_t i = 0; i < gone; ++i) learn(false);
}

void return_line::learn(bool came) { come_ += place_weight * ((came ? 1 : 0) - come_); }

}  // namespace collm::coordinator
