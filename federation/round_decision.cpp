// What a round answers to an event: which records would follow, or why not. Nothing changes here.
#include <algorithm>

#include "federation/training_round.hpp"

namespace collm::federation {

namespace {
using kind = record_kind;
using state = round_state;
}  // namespace

struct training_round::decider {
  const training_round& r;
  double now_ms;

  round_record record(kind k, std::string reason = "") const {
    round_record out;
    out.kind = k;
    out.at_ms = now_ms;
    out.reason = std::move(reason);
    return out;
  }
  static round_decision one(round_record record) { return {.records = {std::move(record)}}; }
  round_decision refuse(errc code, const std::string& why) const {
    return {.refusal = error{code, "round " + std::to_string(r.setup_.round) + " of " +
                                       r.setup_.adapter + ": " + why}};
  }
  round_decision not_now(const std::string& what) const {
    return refuse(errc::conflict,
                  what + " cannot come in state " + std::string(to_string(r.state_)));
  }

  /// A record about one client, and what ends the round because of it.
  round_decision of_client(round_record about) const {
    const bool counts = about.kind == kind::accepted && about.tokens > 0;
    const bool enough = r.updates_with_tokens() + (counts ? 1 : 0) >= r.setup_.quorum;
    const bool late = about.kind == kind::accepted && about.task_round != r.setup_.round;
    const bool answered = r.all_answered_but(late ? "" : about.client);
    round_decision d = one(std::move(about));
    if (auto end = closing(enough, answered)) d.records.push_back(std::move(*end));
    return d;
  }

  /// The record that ends collecting, if it is over without the deadline.
  std::optional<round_record> closing(bool enough, bool answered) const {
    if (r.setup_.fedbuff && enough) return record(kind::closed, "quorum");
    if (!answered) return std::nullopt;
    return enough ? record(kind::closed, "all answered")
                  : record(kind::voided, "all answered, below quorum");
  }

  /// nullopt: the client takes part and the round still collects.
  std::optional<round_decision> hindrance(const std::string& client) const {
    if (!r.participants_.contains(client))
      return refuse(errc::forbidden, client + " was not asked");
    if (!r.collecting()) return not_now("word from " + client);
    return std::nullopt;
  }

  round_decision progress(const std::string& client, std::uint32_t attempt, kind k,
                          participant_state to) const {
    if (const auto known = r.participants_.find(client);
        known != r.participants_.end() && (is_over(known->second) || known->second == to))
      return {.repeated = true};
    if (auto no = hindrance(client)) return *no;
    auto about = record(k);
    about.client = client;
    about.attempt = attempt;
    return one(about);
  }

  round_decision operator()(const tasks_sent&) const {
    if (r.state_ != state::opened) return {.repeated = true};
    return one(record(kind::assigned));
  }
  round_decision operator()(const client_began& e) const {
    return progress(e.client, e.attempt, kind::began, participant_state::training);
  }
  round_decision operator()(const upload_began& e) const {
    return progress(e.client, e.attempt, kind::uploading, participant_state::uploading);
  }

  round_decision operator()(const update_arrived& e) const {
    if (const auto* known = r.find(e.client, e.task_round)) {
      if (known->digest == e.digest) return {.repeated = true};
      return refuse(errc::conflict, "an update of " + e.client + " counts already (attempt " +
                                        std::to_string(known->attempt) + ")");
    }
    const auto key = std::pair(e.client, e.task_round);
    if (std::find(r.counted_.begin(), r.counted_.end(), key) != r.counted_.end())
      return {.repeated = true};
    const bool late = e.task_round != r.setup_.round;
    if (late && (!r.setup_.fedbuff || e.task_round > r.setup_.round))
      return refuse(errc::conflict, "the update is of round " + std::to_string(e.task_round));
    if (!r.collecting()) return not_now("an update");
    if (!late)
      if (auto no = hindrance(e.client)) return *no;
    auto about = record(kind::accepted);
    about.client = e.client;
    about.task_round = e.task_round;
    about.attempt = e.attempt;
    about.digest = e.digest;
    about.tokens = e.tokens;
    about.staleness = e.staleness;
    about.norm = e.norm;
    about.ranks = e.ranks;
    return of_client(about);
  }

  round_decision operator()(const update_was_wrong& e) const {
    if (auto no = hindrance(e.client)) return *no;
    // One that counts already stays: what came after it was a mistake of its own.
    if (r.participants_.at(e.client) == participant_state::accepted) return {.repeated = true};
    auto about = record(kind::refused, e.reason);
    about.client = e.client;
    about.attempt = e.attempt;
    return of_client(about);
  }
  round_decision operator()(const client_declined& e) const {
    if (auto no = hindrance(e.client)) return *no;
    const auto now = r.participants_.at(e.client);
    if (now == participant_state::accepted || now == participant_state::declined)
      return {.repeated = true};
    auto about = record(kind::declined, e.reason);
    about.client = e.client;
    return of_client(about);
  }

  round_decision operator()(const time_passed&) const {
    if (!r.collecting()) return {};
    const bool enough = r.updates_with_tokens() >= r.setup_.quorum;
    if (auto end = closing(enough, r.all_answered_but(""))) return one(std::move(*end));
    if (now_ms < r.deadline_at_ms_) return {};
    if (enough) return one(record(kind::closed, "deadline"));
    return one(record(kind::voided, "deadline, " + std::to_string(r.updates_with_tokens()) +
                                        " of quorum " + std::to_string(r.setup_.quorum)));
  }
  round_decision operator()(const close_now& e) const {
    if (!r.collecting()) return not_now("a wish to close");
    if (r.updates_with_tokens() < r.setup_.quorum)
      return refuse(errc::conflict,
                    "below its quorum it could only be void: let it reach the "
                    "deadline, or " +
                        std::to_string(r.setup_.quorum) + " updates");
    return one(record(kind::closed, e.who));
  }

  round_decision operator()(const sum_stored& e) const {
    if (r.state_ != state::closed)
      return r.sum_digest_ == e.digest ? round_decision{.repeated = true} : not_now("a sum");
    auto about = record(kind::summed);
    about.digest = e.digest;
    about.norm = e.error;
    return one(about);
  }
  round_decision operator()(const sum_failed& e) const {
    if (r.state_ != state::closed && r.state_ != state::summed) return not_now("a failed sum");
    return one(record(kind::voided, e.reason));
  }
  round_decision operator()(const version_registered& e) const {
    if (r.state_ != state::summed)
      return r.version_ == e.version ? round_decision{.repeated = true} : not_now("a version");
    auto about = record(kind::candidate);
    about.version = e.version;
    return one(about);
  }
  round_decision operator()(const gate_began&) const {
    if (r.state_ == state::gate) return {.repeated = true};
    if (r.state_ != state::candidate) return not_now("the gate");
    return one(record(kind::gate));
  }
  round_decision operator()(const gate_judged& e) const {
    if (r.state_ != state::gate || r.passed_) return not_now("a verdict");
    const bool passed = e.outcome == gate_outcome::promote;
    auto about = record(passed ? kind::passed : kind::rejected, e.reason);
    about.digest = e.digest;
    about.undecided = e.outcome == gate_outcome::undecided;
    return one(about);
  }
  round_decision operator()(const canary_began&) const {
    if (r.state_ == state::canary) return {.repeated = true};
    if (r.state_ != state::gate || !r.passed_ || r.canary_passed_) return not_now("a canary");
    return one(record(kind::canary));
  }
  /// Also straight from the gate: too little traffic for a canary passes it by, with that reason.
  round_decision operator()(const canary_ended& e) const {
    const bool may = r.state_ == state::canary || (r.state_ == state::gate && r.passed_);
    if (!may || r.canary_passed_) return not_now("a canary's end");
    return one(record(e.passed ? kind::canary_passed : kind::rejected, e.reason));
  }
  round_decision operator()(const version_promoted&) const {
    if (r.state_ == state::serving) return {.repeated = true};
    const bool judged = r.state_ == state::gate || r.state_ == state::canary;
    if (!judged || !r.passed_ || (r.setup_.canary && !r.canary_passed_))
      return not_now("a promotion");
    auto about = record(kind::serving);
    about.version = r.version_;
    return one(about);
  }
  round_decision operator()(const promotion_refused& e) const {
    const bool judged = r.state_ == state::gate || r.state_ == state::canary;
    if (!judged || !r.passed_) return not_now("a refused promotion");
    return one(record(kind::rejected, e.reason));
  }
  round_decision operator()(const head_returned&) const {
    if (is_final(r.state_)) return {};
    return one(record(kind::resumed));
  }
};

bool training_round::all_answered_but(const std::string& client) const {
  return std::all_of(participants_.begin(), participants_.end(),
                     [&](auto& p) { return p.first == client || is_over(p.second); });
}

round_decision training_round::decide(const round_event& event, double now_ms) const {
  return std::visit(decider{*this, now_ms}, event);
}

}  // namespace collm::federation
