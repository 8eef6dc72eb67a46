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

constexpr std::size_t rounds_told_at_start = 16, served_kept = 4;
constexpr double away_ms = 5000;  // without a turn: this process was stopped, or its machine slept

round_factors_deps factors_deps(const aggregator_deps& d) {
  return {d.shape, d.how, d.blobs, d.factors_of};
}

const char* event_of(state s) {
  switch (s) {
    case state::closed:
      return "round_closed";
    case state::voided:
      return "round_voided";
    case state::candidate:
      return "round_candidate";
    case state::canary:
      return "round_canary";
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

/// Said once, until something else fails or it works again. Where the quota is full, older rounds
/// give way to this one, and whoever failed tries again.
void round_driver::failed(const char* what, const error& why) {
  if (why.code == errc::overloaded && broken_ == std::nullopt) collect(1);
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
  self_->send(deps_.coordinator, attach_atom::value, deps_.adapter, head_aggregator_actor(self_));
  for (const auto& d : book_.damaged()) {
    event(level::ERROR, "round_damaged",
          "round " + std::to_string(d.round) + " is not continued: " + d.what);
    self_->send(deps_.coordinator, message_of(d));
  }
  const auto& kept = book_.kept();
  for (auto i = kept.size() - std::min(kept.size(), rounds_told_at_start); i < kept.size(); ++i)
    self_->send(deps_.coordinator, message_of(kept[i]));
  if (book_.running()) moved(fed::head_returned{});
  refresh([this](const result<void>&) { advance(); });
}

/// Whoever was away heard nobody: that time is no part of a round.
void round_driver::wake() {
  const double at = now_ms(self_);
  if (awake_ms_ >= 0 && at - awake_ms_ > away_ms) clock_offset_ms_ += at - awake_ms_;
  awake_ms_ = at;
}

void round_driver::slot() {
  wake();
  if (broken_) return;
  const auto old = now() - 600000;
  std::erase_if(shadows_, [&](const auto& s) { return s.second.heard_ms < old; });
  if (gate_) gate_->time_passed(now());
  ask_own_traffic();
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
  if (round.state() != state::canary) canary_.reset();
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
    b.setSource(round_source(round.setup().round));
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
  const auto ours = round_source(book_.newest()->setup().round);
  if (v->getState() == schema::VersionState::CANDIDATE && v->getSource() == ours.c_str())
    return moved(fed::version_registered{v->getNumber()});
  return moved(fed::sum_failed{"the sum is version " + std::to_string(v->getNumber()) +
                               " again: nothing was learnt"});
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

/// Removes blobs but for those that may still be asked for: of the last `rounds`, of versions that
/// serve, drain or could come back, of the one that the newest round starts from, and what is on
/// its way.
void round_driver::collect(std::size_t rounds) {
  if (!versions_known_) return;  // whose factors serve is not known yet
  auto keep = intake_.coming();
  const auto sum_of = [&](const fed::training_round& r) {
    keep.insert(r.sum_digest());
    keep.insert(r.verdict_digest());
  };
  if (const auto* newest = book_.newest())  // its parent may be a candidate that was rejected
    if (const auto made_in = book_.round_of_version(newest->setup().parent); made_in != 0)
      if (const auto r = book_.find(made_in)) keep.insert(r->sum_digest());
  const auto& kept = book_.kept();
  for (auto i = kept.size() - std::min(kept.size(), rounds); i < kept.size(); ++i) {
    sum_of(kept[i]);
    for (const auto& u : kept[i].accepted()) keep.insert(u.digest);
  }
  std::size_t before = 0;  // that served before what serves now
  for (auto at = versions_.rbegin(); at != versions_.rend(); ++at) {
    const auto s = at->second.read()->getState();
    if (s == schema::VersionState::REJECTED || s == schema::VersionState::ROLLED_BACK) continue;
    const bool served = s == schema::VersionState::RETIRED || s == schema::VersionState::DRAINING;
    if (served && ++before > served_kept) continue;
    const auto round = book_.round_of_version(at->first);
    if (round == 0) continue;
    if (const auto r = book_.find(round)) sum_of(*r);
  }
  if (auto freed = deps_.blobs->keep_only(keep); !freed)
    event(level::ERROR, "round_failure", "old blobs: " + freed.failure().message);
}

}  // namespace collm::actors
