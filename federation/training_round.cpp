#include "federation/training_round.hpp"

#include <algorithm>
#include <set>

#include "federation/update.hpp"

namespace collm::federation {

namespace {

using kind = record_kind;
using state = round_state;

constexpr std::uint32_t participants_max = updates_max;

bool collects(state s) { return s <= state::uploading; }

/// Whether a record of this kind may follow in this state; the rest of the journal is damaged.
bool follows(kind k, state s) {
  switch (k) {
    case kind::opened:
      return false;
    case kind::assigned:
      return s == state::opened;
    case kind::began:
    case kind::uploading:
    case kind::accepted:
    case kind::declined:
    case kind::refused:
    case kind::closed:
      return collects(s);
    case kind::voided:
      return collects(s) || s == state::closed || s == state::summed;
    case kind::summed:
      return s == state::closed;
    case kind::candidate:
      return s == state::summed;
    case kind::gate:
      return s == state::candidate;
    case kind::passed:
    case kind::canary:
      return s == state::gate;
    case kind::canary_passed:
    case kind::serving:
    case kind::rejected:
      return s == state::gate || s == state::canary;
    case kind::resumed:
      return !is_final(s);
  }
  return false;
}

/// Where such a record leads; nullopt: the state stays.
std::optional<state> leads_to(kind k, state s) {
  switch (k) {
    case kind::assigned:
      return state::assigned;
    case kind::began:
      return std::max(s, state::training);
    case kind::uploading:
    case kind::accepted:
      return state::uploading;
    case kind::closed:
      return state::closed;
    case kind::voided:
      return state::voided;
    case kind::summed:
      return state::summed;
    case kind::candidate:
      return state::candidate;
    case kind::gate:
      return state::gate;
    case kind::canary:
      return state::canary;
    case kind::serving:
      return state::serving;
    case kind::rejected:
      return state::rejected;
    default:
      return std::nullopt;
  }
}

std::optional<participant_state> client_state(kind k) {
  switch (k) {
    case kind::began:
      return participant_state::training;
    case kind::uploading:
      return participant_state::uploading;
    case kind::accepted:
      return participant_state::accepted;
    case kind::declined:
      return participant_state::declined;
    case kind::refused:
      return participant_state::refused;
    default:
      return std::nullopt;
  }
}

error damaged(const round_record& r, const std::string& why) {
  return {errc::corrupt, "round journal: record '" + std::string(to_string(r.kind)) + "' " + why};
}

}  // namespace

std::string_view to_string(round_state s) {
  constexpr std::string_view names[] = {"opened", "assigned", "training", "uploading",
                                        "closed", "voided",   "summed",   "candidate",
                                        "gate",   "canary",   "serving",  "rejected"};
  return names[static_cast<std::size_t>(s)];
}

result<round_record> training_round::open(const round_setup& setup, double now_ms) {
  std::set<std::string> names;
  for (const auto& p : setup.participants) {
    if (p.client.empty() || !names.insert(p.client).second)
      return error{errc::bad_request,
                   "participant '" + p.client + "' is named twice or not at all"};
  }
  const auto count = setup.participants.size();
  if (count == 0 || count > participants_max)
    return error{errc::bad_request,
                 "a round has 1 to 8192 participants, not " + std::to_string(count)};
  if (setup.quorum == 0 || (!setup.fedbuff && setup.quorum > count))
    return error{errc::bad_request, "quorum " + std::to_string(setup.quorum) + " of " +
                                        std::to_string(count) + " participants cannot be met"};
  if (!(setup.deadline_ms > 0)) return error{errc::bad_request, "a round needs a deadline"};
  round_record r;
  r.at_ms = now_ms;
  r.setup = setup;
  return r;
}

result<training_round> training_round::replay(std::span<const round_record> records) {
  if (records.empty() || records.front().kind != kind::opened)
    return error{errc::corrupt, "a round's journal begins with 'opened'"};
  training_round r;
  const auto& first = records.front();
  r.setup_ = first.setup;
  r.opened_at_ms_ = r.last_at_ms_ = first.at_ms;
  r.deadline_at_ms_ = first.at_ms + first.setup.deadline_ms;
  for (const auto& p : first.setup.participants)
    r.participants_[p.client] = participant_state::offered;
  for (const auto& record : records.subspan(1))
    if (auto done = r.apply(record); !done) return done.failure();
  return r;
}

result<void> training_round::apply(const round_record& r) {
  if (!follows(r.kind, state_))
    return damaged(r, "cannot follow in state " + std::string(to_string(state_)));
  if (const auto s = client_state(r.kind)) {
    const bool late = r.kind == kind::accepted && r.task_round != setup_.round;
    const auto at = participants_.find(r.client);
    if (!late && at == participants_.end()) return damaged(r, "names no participant: " + r.client);
    if (r.kind == kind::accepted) {
      if (find(r.client, r.task_round)) return damaged(r, "counts twice: " + r.client);
      accepted_.push_back(
          {r.client, r.task_round, r.attempt, r.digest, r.tokens, r.staleness, r.norm, r.ranks});
    }
    if (!late) at->second = *s;
    client_reasons_.erase(r.client);
    if (!r.reason.empty()) client_reasons_[r.client] = r.reason;
  }
  apply_to_round(r);
  return {};
}

void training_round::apply_to_round(const round_record& r) {
  if (r.kind == kind::resumed) deadline_at_ms_ += std::max(0.0, r.at_ms - last_at_ms_);
  last_at_ms_ = std::max(last_at_ms_, r.at_ms);
  if (r.kind == kind::summed) {
    sum_digest_ = r.digest;
    error_ = r.norm;
  }
  const bool judged = r.kind == kind::passed || r.kind == kind::rejected;
  if (judged && !r.digest.empty()) verdict_digest_ = r.digest;
  if (r.kind == kind::candidate) version_ = r.version;
  if (r.kind == kind::passed) passed_ = true;
  if (r.kind == kind::canary_passed) canary_passed_ = true;
  if (r.kind == kind::rejected) undecided_ = r.undecided;
  if (!r.reason.empty() && !client_state(r.kind)) reason_ = r.reason;
  state_ = leads_to(r.kind, state_).value_or(state_);
}

const accepted_update* training_round::find(const std::string& client,
                                            std::uint32_t task_round) const {
  for (const auto& u : accepted_)
    if (u.client == client && u.task_round == task_round) return &u;
  return nullptr;
}

std::string training_round::reason_of(const std::string& client) const {
  const auto at = client_reasons_.find(client);
  return at == client_reasons_.end() ? "" : at->second;
}

std::uint32_t training_round::updates_with_tokens() const {
  return static_cast<std::uint32_t>(
      std::count_if(accepted_.begin(), accepted_.end(), [](auto& u) { return u.tokens > 0; }));
}

double training_round::median_norm() const {
  std::vector<double> norms;
  for (const auto& u : accepted_) norms.push_back(u.norm);
  return median_of(std::move(norms));
}

std::vector<round_action> training_round::due() const {
  const round_action of_version{.version = version_};
  const auto act = [&](action_kind k) {
    auto a = of_version;
    a.kind = k;
    return std::vector<round_action>{a};
  };
  switch (state_) {
    case state::opened:
    case state::assigned:
    case state::training:
    case state::uploading: {
      std::vector<round_action> offers;
      for (const auto& p : setup_.participants)
        if (participants_.at(p.client) == participant_state::offered)
          offers.push_back({.kind = action_kind::offer, .client = p.client, .steps = p.steps});
      return offers;
    }
    case state::closed:
      return act(action_kind::sum);
    case state::summed:
      return {{.kind = action_kind::register_sum, .digest = sum_digest_}};
    case state::candidate:
      return act(action_kind::begin_gate);
    case state::gate:
      if (!passed_) return act(action_kind::judge);
      return act(setup_.canary && !canary_passed_ ? action_kind::begin_canary
                                                  : action_kind::promote);
    case state::canary:
      return act(canary_passed_ ? action_kind::promote : action_kind::watch_canary);
    case state::rejected:
      return act(action_kind::withdraw);
    case state::voided:
    case state::serving:
      return {};
  }
  return {};
}

}  // namespace collm::federation
