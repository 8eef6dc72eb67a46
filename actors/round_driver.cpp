// The course of a round: from an event to the journal, from the state to what is due.
#include "actors/round_driver.hpp"

#include <algorithm>
#include <set>

#include "actors/replies.hpp"

namespace collm::actors {

namespace {

namespace fed = federation;
using level = schema::EventLevel;
using state = fed::round_state;

constexpr std::size_t rounds_told_at_start = 16, retired_kept = 4;

round_factors_deps factors_deps(const aggregator_deps& d) {
  return {d.shape, d.how, d.blobs, d.factors_of};
}

/// Worth trying again in a moment: the disk or a peer, not the data.
bool passes(const error& e) {
  return e.code == errc::io || e.code == errc::overloaded || e.code == errc::unavailable ||
         e.code == errc::draining;
}

const char* event_of(state s) {
  switch (s) {
    case state::closed:
      return "round_closed";
    case state::voided:
      return "round_voided";
    case state::candidate:
      return "round_candidate";
    case state::serving:
      return "round_promoted";
    case state::rejected:
      return "round_rejected";
    default:
      return nullptr;
  }
}

}  // namespace

round_driver::round_driver(self_ptr self, aggregator_deps deps)
    : self_(self),
      deps_(std::move(deps)),
      book_(deps_.adapter, deps_.journal),
      factors_(factors_deps(deps_)),
      intake_({deps_.adapter, deps_.base_digest, deps_.shape, deps_.how}, deps_.blobs) {}

void round_driver::event(level l, const char* kind, const std::string& text) {
  self_->send(deps_.telemetry, event_message(l, deps_.node, kind, deps_.adapter + ": " + text));
}

/// Said once, until something else fails or it works again.
void round_driver::failed(const char* what, const error& why) {
  const auto text = std::string(what) + ": " + why.message;
  if (text != last_failure_) event(level::ERROR, "round_failure", text);
  last_failure_ = text;
}

void round_driver::start() {
  if (auto loaded = book_.load(); !loaded) {
    broken_ = loaded.failure();
    event(level::ERROR, "round_journal_damaged", broken_->message);
    return;
  }
  // Time stands still while there is no head: what a round had left, it has left.
  clock_offset_ms_ = now_ms(self_) - book_.last_at_ms();
  started_ms_ = now();
  for (const auto& d : book_.damaged())
    event(level::ERROR, "round_damaged",
          "round " + std::to_string(d.round) + " is not continued: " + d.what);
  self_->send(deps_.coordinator, attach_atom::value, deps_.adapter, head_aggregator_actor(self_));
  const auto& kept = book_.kept();
  for (auto i = kept.size() - std::min(kept.size(), rounds_told_at_start); i < kept.size(); ++i)
    self_->send(deps_.coordinator, message_of(kept[i]));
  if (book_.running()) moved(fed::head_returned{});
  refresh([this](const result<void>&) { advance(); });
}

void round_driver::slot() {
  if (broken_) return;
  const auto old = now() - 600000;
  std::erase_if(shadows_, [&](const auto& s) { return s.second.heard_ms < old; });
  if (gate_) gate_->time_passed(now());
  if (book_.running()) moved(fed::time_passed{});
  refresh([this](const result<void>&) { advance(); });
}

// -- events

result<fed::round_decision> round_driver::tell(const fed::round_event& e) {
  if (book_.newest() == nullptr) return error{errc::conflict, "no round is open"};
  const auto before = book_.newest()->state();
  auto d = book_.tell(e, now());
  if (!d) {
    failed("the round's journal", d.failure());
  } else if (!d->records.empty()) {
    last_failure_.clear();
    noticed(before);
  }
  return d;
}

bool round_driver::moved(const fed::round_event& e) {
  const auto d = tell(e);
  if (d && d->refusal) failed("the round's course", *d->refusal);
  return d && !d->records.empty();
}

void round_driver::noticed(fed::round_state before) {
  const auto& round = *book_.newest();
  if (round.state() == before) return;
  const auto name = "round " + std::to_string(round.setup().round);
  if (const auto* kind = event_of(round.state()))
    event(round.state() == state::voided ? level::WARNING : level::INFO, kind,
          name + ": " + (round.reason().empty() ? "done" : round.reason()));
  if (round.state() != state::gate) {
    gate_.reset();
    held_since_ms_ = -1;
  }
  self_->send(deps_.coordinator, message_of(round));
}

// -- what is due

void round_driver::advance() {
  if (broken_) return;
  const auto waits = [this] {  // for its clients: who asks gets its task
    const auto s = book_.newest()->state();
    return s > state::opened && s <= state::uploading;
  };
  while (book_.newest() != nullptr && !asking_ && !waits()) {
    const auto due = book_.newest()->due();
    if (due.empty() || !act(due.front())) return;
  }
}

bool round_driver::act(const fed::round_action& a) {
  switch (a.kind) {
    case fed::action_kind::offer:
      return moved(fed::tasks_sent{});  // they stand from here on
    case fed::action_kind::sum:
      return sum();
    case fed::action_kind::register_sum:
      return register_sum(a.digest);
    case fed::action_kind::begin_gate:
      return moved(fed::gate_began{});
    case fed::action_kind::judge:
      return judge();
    case fed::action_kind::begin_canary:
      return begin_canary();
    case fed::action_kind::watch_canary:
      return watch_canary({deps_.adapter, a.version});
    case fed::action_kind::promote:
      return promote();
    case fed::action_kind::withdraw:
      return withdraw();
  }
  return false;
}

/// False: it is tried again in the next slot.
bool round_driver::sum_refused(const error& why) {
  if (!passes(why)) return moved(fed::sum_failed{why.message});
  failed("the sum", why);
  return false;
}

bool round_driver::sum() {
  if (!versions_known_) return false;
  const auto& round = *book_.newest();
  const auto* parent = version(round.setup().parent);
  if (parent == nullptr)
    return sum_refused({errc::not_found, "parent version " + std::to_string(round.setup().parent) +
                                             " is not registered any more"});
  const auto from = factors_.of(*parent, book_);
  if (!from) return sum_refused(from.failure());
  const auto made = factors_.sum(round, *from);
  if (!made) return sum_refused(made.failure());
  const auto digest = factors_.store(made->factors);
  if (!digest) return sum_refused(digest.failure());
  return moved(fed::sum_stored{*digest, made->error.value_or(-1)});
}

template <class... What>
void round_driver::ask_registry(std::function<bool(const reply<record>&)> then, What... what) {
  asking_ = true;
  self_->request(deps_.registry, caf::infinite, what...)
      .then(
          [this, then](const reply<record>& r) {
            asking_ = false;
            if (!then(r)) return;  // until the next slot
            refresh([this](const result<void>&) { advance(); });
          },
          [this](const caf::error&) {
            asking_ = false;
            failed("the registry", {errc::unavailable, "it does not answer"});
          });
}

bool round_driver::register_sum(const std::string& digest) {
  const auto factors = factors_.stored(digest);
  if (!factors) return sum_refused(factors.failure());
  const auto named = deps_.version_digest(*factors);
  if (!named) return sum_refused(named.failure());
  const auto& round = *book_.newest();
  store::version_lineage made_of{
      round.setup().round, std::string(to_string(deps_.how.aggregate)), {}};
  for (const auto& u : round.accepted()) made_of.updates.push_back({u.digest, u.client, u.tokens});
  auto what = msg<schema::Register>::build([&](schema::Register::Builder b) {
    std::uint32_t rank = 0;
    for (const auto& p : deps_.shape.pairs) rank = std::max(rank, p.rank);
    b.setAdapter(deps_.adapter);
    b.setDigest(*named);
    b.setParent(static_cast<std::int32_t>(round.setup().parent));
    b.setRank(rank);
    b.setBytes(factors->size() * sizeof(float));
    b.setSource("round:" + std::to_string(round.setup().round));
    b.setNode(deps_.node);
    b.setBaseDigest(deps_.base_digest);
    b.setCandidate(true);
  });
  ask_registry([this](const reply<record>& r) { return registered(r); }, std::move(what),
               std::move(made_of));
  return false;
}

bool round_driver::registered(const reply<record>& r) {
  if (!*r) return sum_refused(r->failure());
  const auto v = (**r).read();
  const auto ours = "round:" + std::to_string(book_.newest()->setup().round);
  if (v->getState() == schema::VersionState::CANDIDATE && v->getSource() == ours.c_str())
    return moved(fed::version_registered{v->getNumber()});
  return moved(fed::sum_failed{"the sum is version " + std::to_string(v->getNumber()) +
                               " again: nothing was learnt"});
}

// -- gate

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

/// Whether somebody put another version, or the candidate itself, in the serving one's place.
bool round_driver::overtaken() {
  const auto* serves = serving();
  if (serves == nullptr) return false;
  const auto& round = *book_.newest();
  const auto number = serves->read()->getNumber();
  if (number == round.setup().serving) return false;
  if (number == round.version())
    return judged(fed::gate_outcome::promote, {.reason = "promoted by an operator"});
  return judged(fed::gate_outcome::reject,
                {.reason = "version " + std::to_string(number) + " was put in place of " +
                           std::to_string(round.setup().serving) + ", which it was made to beat"});
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

// -- canary, promotion

bool round_driver::begin_canary() {
  const bool traffic = deps_.canary && deps_.canary->requests_per_s && deps_.canary->counts &&
                       coordinator::canary_possible(deps_.canary->requests_per_s(deps_.adapter));
  if (!traffic) return moved(fed::canary_ended{true, "too little traffic for a canary"});
  const version_id id{deps_.adapter, book_.newest()->version()};
  ask_registry(
      [this](const reply<record>& r) {
        if (!*r) {
          failed("the canary", r->failure());
          return false;
        }
        canary_since_ms_ = now();
        return moved(fed::canary_began{});
      },
      move_atom::value, id, schema::VersionState::CANARY, book_.newest()->reason());
  return false;
}

bool round_driver::watch_canary(const version_id& id) {
  if (!deps_.canary || !deps_.canary->counts)
    return moved(fed::canary_ended{true, "no traffic is seen any more"});
  if (canary_since_ms_ == 0) canary_since_ms_ = now();  // a head that came back begins anew
  const auto v = coordinator::judge_canary(deps_.canary->options, deps_.canary->counts(id), {}, {},
                                           now() - canary_since_ms_);
  if (v.decision == coordinator::canary_decision::waiting) return false;
  canary_since_ms_ = 0;
  const bool passed = v.decision == coordinator::canary_decision::promote;
  return moved(fed::canary_ended{passed, v.reason});
}

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

// -- versions

void round_driver::refresh(std::function<void(const result<void>&)> then) {
  self_->request(deps_.registry, caf::infinite, list_atom::value)
      .then(
          [this, then](const reply<msg<schema::VersionList>>& r) {
            if (!*r) return then(r->failure());
            const auto list = (**r).read();
            versions_.clear();
            for (const auto v : list->getVersions())
              if (v.getAdapter() == deps_.adapter.c_str())
                versions_[v.getNumber()] = record::copy_of(v);
            versions_known_ = true;
            then({});
          },
          [then](const caf::error&) {
            then(error{errc::unavailable, "the registry does not answer", 1000});
          });
}

const round_driver::record* round_driver::version(std::uint32_t number) const {
  const auto at = versions_.find(number);
  return at == versions_.end() ? nullptr : &at->second;
}

const round_driver::record* round_driver::serving() const {
  for (const auto& [number, v] : versions_)
    if (v.read()->getState() == schema::VersionState::SERVING) return &v;
  return nullptr;
}

/// Blobs that may still be asked for: of the last rounds, of versions that serve, drain or could
/// come back, and what an unfinished round holds.
void round_driver::collect() {
  std::set<std::string> keep;
  const auto sum_of = [&](const fed::training_round& r) {
    keep.insert(r.sum_digest());
    keep.insert(r.verdict_digest());
  };
  const auto& kept = book_.kept();
  for (auto i = kept.size() - std::min<std::size_t>(kept.size(), deps_.rounds_kept);
       i < kept.size(); ++i) {
    sum_of(kept[i]);
    for (const auto& u : kept[i].accepted()) keep.insert(u.digest);
  }
  std::size_t retired = 0;
  for (auto at = versions_.rbegin(); at != versions_.rend(); ++at) {
    const auto s = at->second.read()->getState();
    if (s == schema::VersionState::REJECTED || s == schema::VersionState::ROLLED_BACK) continue;
    if (s == schema::VersionState::RETIRED && ++retired > retired_kept) continue;
    const auto round = book_.round_of_version(at->first);
    if (round == 0) continue;
    if (const auto r = book_.find(round)) sum_of(*r);
  }
  if (auto freed = deps_.blobs->keep_only(keep); !freed) failed("old blobs", freed.failure());
}

}  // namespace collm::actors
