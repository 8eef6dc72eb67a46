// The gate and the promotion of a round.
#include "actors/replies.hpp"
#include "actors/round_driver.hpp"

namespace collm::actors {

namespace {

namespace fed = federation;
using level = schema::EventLevel;

}  // namespace

void round_driver::open_gate() {
  if (now() - started_ms_ < deps_.gather_ms) return;
  std::vector<coordinator::gate_replica> replicas;
  for (const auto& [name, s] : shadows_)
    if (now() - s.heard_ms <= deps_.patience.silent_ms)
      replicas.push_back({name, s.site, s.gate_samples});
  auto opened =
      coordinator::gate_course::open(deps_.gate, replicas, deps_.guard_pool, deps_.patience, now());
  if (opened) gate_ = std::move(*opened);
}

/// Whether somebody put another version, or the candidate itself, in the serving one's place, or
/// withdrew that: whoever freed it cannot measure it any more.
bool round_driver::overtaken() {
  const auto& round = *book_.newest();
  const auto beaten = std::to_string(round.setup().serving);
  const auto* serves = serving();
  if (serves == nullptr) {
    if (version(round.setup().serving) == nullptr) return false;
    return judged(fed::gate_outcome::reject,
                  {.reason = "version " + beaten + ", which it was made to beat, was withdrawn"});
  }
  const auto number = serves->read()->getNumber();
  if (number == round.setup().serving) return false;
  if (number == round.version())
    return judged(fed::gate_outcome::promote, {.reason = "promoted by an operator"});
  return judged(fed::gate_outcome::reject,
                {.reason = "version " + std::to_string(number) + " was put in place of " + beaten +
                           ", which it was made to beat"});
}

bool round_driver::judge() {
  if (!versions_known_) return false;
  if (overtaken()) return true;
  if (!gate_) open_gate();
  if (!gate_) return false;  // nobody with held-out data is there yet
  const auto v = gate_->judge();
  switch (v.decision) {
    case coordinator::gate_decision::waiting:
      return false;
    case coordinator::gate_decision::promote:
      return judged(fed::gate_outcome::promote, v);
    case coordinator::gate_decision::reject:
      return judged(fed::gate_outcome::reject, v);
    case coordinator::gate_decision::undecided:
      return judged(fed::gate_outcome::undecided, v);
    case coordinator::gate_decision::operator_only:
      return hold_for_operator(v);
  }
  return false;
}

bool round_driver::hold_for_operator(const coordinator::gate_verdict& v) {
  if (held_since_ms_ < 0) {
    held_since_ms_ = now();
    event(level::WARNING, "round_waits",
          to_string(version_id{deps_.adapter, book_.newest()->version()}) + ": " + v.reason);
  }
  if (now() - held_since_ms_ < deps_.operator_ms) return false;
  auto over = v;
  over.reason += "; nobody did";
  return judged(fed::gate_outcome::undecided, over);
}

/// The verdict is durable before it counts.
bool round_driver::judged(fed::gate_outcome outcome, const coordinator::gate_verdict& v) {
  const auto digest = deps_.blobs->put(verdict_message(v, deps_.gate.margin).bytes());
  if (!digest) {
    failed("the verdict", digest.failure());
    return false;
  }
  for (const auto& site : v.silent) event(level::WARNING, "site_silent", site + " did not answer");
  return moved(fed::gate_judged{outcome, verdict_line(v), *digest});
}

// -- promotion

bool round_driver::promote() {
  const auto& round = *book_.newest();
  ask_registry(
      [this](const reply<record>& r) {
        if (*r) return moved(fed::version_promoted{});
        if (!passes(r->failure())) return moved(fed::promotion_refused{r->failure().message});
        failed("the promotion", r->failure());
        return false;
      },
      promote_atom::value, version_id{deps_.adapter, round.version()}, round.setup().serving,
      round.reason());
  return false;
}

/// Due for ever once a round is rejected; done once a life of this actor.
bool round_driver::withdraw() {
  const auto& round = *book_.newest();
  if (!versions_known_ || withdrawn_ == round.setup().round) return false;
  const auto* row = version(round.version());
  const auto now_is = row ? row->read()->getState() : schema::VersionState::REJECTED;
  const auto to = now_is == schema::VersionState::CANARY ? schema::VersionState::ROLLED_BACK
                                                         : schema::VersionState::REJECTED;
  const bool open =
      now_is == schema::VersionState::CANARY || now_is == schema::VersionState::CANDIDATE;
  if (!open) {
    withdrawn_ = round.setup().round;
    return false;
  }
  ask_registry(
      [this, number = round.setup().round](const reply<record>& r) {
        if (*r) {
          withdrawn_ = number;
        } else {
          failed("withdrawing a candidate", r->failure());
        }
        return static_cast<bool>(*r);
      },
      move_atom::value, version_id{deps_.adapter, round.version()}, to, round.reason());
  return false;
}

}  // namespace collm::actors
