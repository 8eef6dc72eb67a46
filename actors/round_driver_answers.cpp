// What the aggregator answers: to shadows, to the coordinator, to operators.
#include <algorithm>
#include <cmath>

#include "actors/round_driver.hpp"
#include "messages/limits.hpp"
#include "messages/shown_text.hpp"
#include "store/digest.hpp"

namespace collm::actors {

namespace {

namespace fed = federation;
using state = fed::round_state;

constexpr std::size_t shadows_max = fed::updates_max, name_bytes_max = 256, rounds_listed = 256,
                      reason_bytes_max = 256;
constexpr std::uint64_t chunk_bytes_max = limits{}.chunk_bytes_max;

result<void> check_names(const std::string& adapter, const schema::ShadowState::Reader& s) {
  if (s.getAdapter() != adapter.c_str())
    return error{errc::bad_request, "this aggregator has '" + adapter + "', not '" +
                                        std::string(s.getAdapter().cStr()) + "'"};
  const bool named = s.getReplica().size() > 0 && s.getReplica().size() <= name_bytes_max &&
                     s.getSite().size() > 0 && s.getSite().size() <= name_bytes_max;
  if (!named) return error{errc::bad_request, "a shadow names its replica and its site"};
  return {};
}

/// ||x - y|| / ||y||
double relative_change(const std::vector<float>& x, const std::vector<float>& y) {
  double distance = 0, size = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    distance += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
    size += double{y[i]} * y[i];
  }
  return size > 0 ? std::sqrt(distance / size) : 0;
}

std::string names_of(const fed::training_round& r) {
  std::string out;
  for (const auto& u : r.accepted()) out += (out.empty() ? "" : ", ") + u.client;
  return out.empty() ? "none" : out;
}

}  // namespace

// -- shadows

void round_driver::remember(const schema::ShadowState::Reader& s) {
  const std::string replica = s.getReplica().cStr();
  if (!shadows_.contains(replica) && shadows_.size() >= shadows_max) return;
  auto& seen = shadows_[replica];
  seen = {s.getSite().cStr(), s.getGateSamples(), s.getCanarySamples(), s.getStep(), now()};
  if (gate_) gate_->heard({replica, seen.site, seen.gate_samples}, now());
  if (canary_) canary_->heard({replica, seen.site, seen.canary_samples}, now());
}

/// What its state says of its task in this round.
void round_driver::told_by(const schema::ShadowState::Reader& s) {
  if (!book_.running() || book_.newest()->setup().round != s.getRound()) return;
  const auto& round = *book_.newest();
  const auto client = round.participants().find(s.getReplica().cStr());
  if (client == round.participants().end() || round.state() > state::uploading) return;
  if (is_over(client->second)) return;
  if (s.getDeclined().size() > 0) {
    moved(fed::client_declined{client->first,
                               std::string(beginning(s.getDeclined().cStr(), reason_bytes_max))});
  } else if (s.getPhase() == schema::ShadowPhase::TRAINING &&
             client->second == fed::participant_state::offered) {
    moved(fed::client_began{client->first, s.getAttempt()});
  }
  advance();
}

msg<schema::Work> round_driver::task_of(const fed::training_round& round,
                                        const std::string& replica) const {
  const auto& setup = round.setup();
  const auto mine = std::find_if(setup.participants.begin(), setup.participants.end(),
                                 [&](const auto& p) { return p.client == replica; });
  return train_work(
      setup, {.steps = mine->steps,
              .keep_moments = plan_next(deps_.how, book_.ended(), setup.serving).keep_moments,
              .prox_mu = deps_.how.prox_mu,
              .remaining_ms = round.deadline_at_ms() - now(),
              .late_counts = deps_.how.fedbuff});
}

/// Whether the update that this shadow works at is of an earlier round and would still count.
bool round_driver::late_counts(const schema::ShadowState::Reader& s) const {
  const auto number = s.getRound();
  const auto* newest = book_.newest();
  if (!deps_.how.fedbuff || number == 0 || newest == nullptr || s.getDeclined().size() > 0)
    return false;
  const bool on_time = number == newest->setup().round && newest->state() <= state::uploading;
  if (on_time || number > newest->setup().round || book_.forgotten(number)) return false;
  const std::string replica = s.getReplica().cStr();
  if (book_.counts(replica, number) || book_.staleness(number) > fed::staleness_max) return false;
  const auto round = book_.find(number);
  if (!round) return false;
  const auto client = round->participants().find(replica);
  return client != round->participants().end() &&
         client->second <= fed::participant_state::uploading;
}

msg<schema::Work> round_driver::late_work(const schema::ShadowState::Reader& s) const {
  if (!late_counts(s)) return no_work();
  return task_of(*book_.find(s.getRound()), s.getReplica().cStr());
}

/// What the gate or the canary wants to have measured.
msg<schema::Work> round_driver::held_out_work(const std::string& replica) const {
  const auto& round = *book_.newest();
  const auto& setup = round.setup();
  const auto *candidate = version(round.version()), *serves = version(setup.serving);
  if ((!gate_ && !canary_) || candidate == nullptr || serves == nullptr) return no_work();
  const auto task = gate_ ? gate_->task_for(replica) : canary_->task_for(replica);
  if (!task) return no_work();
  return evaluate_work(setup, {round.version(), candidate->read()->getDigest().cStr()},
                       {setup.serving, serves->read()->getDigest().cStr()}, *task, !gate_);
}

/// Under fedbuff a shadow brings its old task to an end before it takes a new one; what waits for
/// its scores waits for no training.
msg<schema::Work> round_driver::work_for(const schema::ShadowState::Reader& s) const {
  if (!book_.running()) return late_work(s);
  const std::string replica = s.getReplica().cStr();
  const auto& round = *book_.newest();
  if (round.state() > state::uploading) {
    auto wanted = held_out_work(replica);
    return wanted.read()->isNone() ? late_work(s) : wanted;
  }
  if (late_counts(s)) return late_work(s);
  const auto client = round.participants().find(replica);
  const bool asked =
      client != round.participants().end() && client->second <= fed::participant_state::uploading;
  return asked ? task_of(round, replica) : no_work();
}

reply<msg<schema::Work>> round_driver::work(const msg<schema::ShadowState>& message) {
  wake();
  if (broken_) return make_reply<msg<schema::Work>>(*broken_);
  const auto s = message.read();
  if (auto fine = check_names(deps_.adapter, *s); !fine)
    return make_reply<msg<schema::Work>>(fine.failure());
  remember(*s);
  self_->send(deps_.coordinator, message);
  told_by(*s);
  return make_reply<msg<schema::Work>>(work_for(*s));
}

reply<msg<schema::UploadPlace>> round_driver::update(const schema::UpdateChunk::Reader& chunk) {
  wake();
  using place_reply = msg<schema::UploadPlace>;
  if (broken_) return make_reply<place_reply>(*broken_);
  const auto header = header_of(chunk.getHeader());
  if (!header) return make_reply<place_reply>(header.failure());
  const auto bytes = chunk.getData();
  const auto* round = book_.newest();
  const auto before = round ? round->state() : state::voided;
  const auto counted = round ? round->accepted().size() : 0;
  const auto place = intake_.take(
      *header, chunk.getAt(), std::as_bytes(std::span(bytes.begin(), bytes.size())), book_, now());
  if (round != nullptr) noticed(before);
  if (!place) {
    const auto code = place.failure().code;
    if (code == errc::bad_request || code == errc::corrupt || code == errc::too_large)
      event(schema::EventLevel::WARNING, "update_refused",
            header->client + ": " + place.failure().message);
  } else if (round->accepted().size() > counted) {
    event(schema::EventLevel::INFO, "update_accepted",
          header->client + ", " + std::to_string(header->tokens) + " tokens");
  }
  if (!place && (place.failure().code == errc::overloaded || place.failure().code == errc::io))
    failed("an update", place.failure());
  advance();
  if (!place) return make_reply<place_reply>(place.failure());
  return make_reply<place_reply>(place_reply::build([&](schema::UploadPlace::Builder b) {
    b.setNext(place->next);
    b.setAccepted(place->accepted);
  }));
}

reply<void> round_driver::scores(const schema::Scores::Reader& r) {
  wake();
  if (broken_) return make_reply<void>(*broken_);
  const auto& newest = book_.newest();
  const bool of_newest = newest != nullptr && r.getAdapter() == deps_.adapter.c_str() &&
                         r.getRound() == newest->setup().round &&
                         r.getCandidate() == newest->version();
  // A canary does not wait for every site: what comes after its end is late, not wrong.
  if (of_newest && r.getReference() && !canary_) return make_reply<void>(result<void>());
  if (!of_newest || (!r.getReference() && !gate_))
    return make_reply<void>(
        error{errc::conflict, "no gate waits for scores of round " + std::to_string(r.getRound())});
  auto taken = r.getReference() ? canary_->take(reference_of(r)) : gate_->take(answer_of(r), now());
  advance();
  return make_reply<void>(std::move(taken));
}

result<msg<schema::FactorsChunk>> round_driver::chunk(std::uint32_t number, std::uint64_t at,
                                                      std::uint64_t count) {
  const auto* row = version(number);
  if (row == nullptr)
    return error{errc::not_found,
                 to_string(version_id{deps_.adapter, number}) + " is not registered"};
  const auto part = factors_.read(*row, book_, at, std::min(count, chunk_bytes_max));
  if (!part) return part.failure();
  return msg<schema::FactorsChunk>::build([&](schema::FactorsChunk::Builder b) {
    b.setDigest(part->digest);
    b.setTotal(part->total);
    auto data = b.initData(part->bytes.size());
    std::copy(part->bytes.begin(), part->bytes.end(), reinterpret_cast<std::byte*>(data.begin()));
  });
}

caf::result<reply<msg<schema::FactorsChunk>>> round_driver::factors(
    const schema::FactorsWanted::Reader& r) {
  using answer = msg<schema::FactorsChunk>;
  if (broken_) return make_reply<answer>(*broken_);
  const auto number = r.getNumber();
  const auto at = r.getAt();
  const std::uint64_t count = r.getCount();
  if (version(number) != nullptr) return make_reply<answer>(chunk(number, at, count));
  auto promise = self_->make_response_promise<reply<answer>>();
  refresh([this, promise, number, at, count](const result<void>& known) mutable {
    promise.deliver(make_reply<answer>(known ? chunk(number, at, count) : known.failure()));
  });
  return promise;
}

// -- the coordinator

/// An undecided candidate whose factors are damaged is no start: the serving version is.
result<const round_driver::record*> round_driver::parent_of(fed::next_round& next,
                                                            const record& serving) {
  const auto number = serving.read()->getNumber();
  const auto* row = version(next.parent);
  if (next.parent != number && row != nullptr && factors_.of(*row, book_)) return row;
  if (next.parent != number)
    event(schema::EventLevel::WARNING, "round_parent",
          "version " + std::to_string(next.parent) + " cannot be read; starting from " +
              std::to_string(number));
  next.parent = number;
  if (auto there = factors_.of(serving, book_); !there) return there.failure();
  return &serving;
}

/// The last candidate may not stay one for ever: it is withdrawn before a round follows.
result<void> round_driver::settled() {
  const auto* last = book_.newest();
  if (last == nullptr || last->state() != state::rejected) return {};
  advance();
  if (withdrawn_ == last->setup().round) return {};
  return error{errc::conflict, "version " + std::to_string(last->version()) + " is being withdrawn",
               1000};
}

result<std::uint32_t> round_driver::opened(const round_plan& plan) {
  wake();
  if (broken_) return *broken_;
  const auto* serves = serving();
  if (serves == nullptr)
    return error{errc::conflict, "no version of '" + deps_.adapter + "' serves yet", 1000};
  if (auto done = settled(); !done) return done.failure();
  if (!book_.running()) collect(deps_.rounds_kept);
  const auto number = serves->read()->getNumber();
  auto next = plan_next(deps_.how, book_.ended(), number);
  const auto parent = parent_of(next, *serves);
  if (!parent) return parent.failure();
  fed::round_setup setup{.parent = next.parent,
                         .parent_digest = (*parent)->read()->getDigest().cStr(),
                         .serving = number,
                         .phase = next.phase,
                         .trained = trained_in(deps_.how, next.phase),
                         .quorum = deps_.quorum,
                         .deadline_ms = deps_.deadline_ms,
                         .fedbuff = deps_.how.fedbuff,
                         .canary = deps_.canary.has_value(),
                         .median_norm = book_.median_norm()};
  for (const auto& m : plan.members) setup.participants.push_back({m.client, m.steps});
  if (auto started = book_.start(std::move(setup), now()); !started) return started.failure();
  const auto& round = *book_.newest();
  event(schema::EventLevel::INFO, "round_opened",
        "round " + std::to_string(round.setup().round) + " from version " +
            std::to_string(round.setup().parent) + ", " + std::to_string(plan.members.size()) +
            " replicas");
  self_->send(deps_.coordinator, message_of(round));
  advance();
  return book_.newest()->setup().round;
}

caf::result<reply<std::uint32_t>> round_driver::open(const round_plan& plan) {
  auto promise = self_->make_response_promise<reply<std::uint32_t>>();
  refresh([this, promise, plan](const result<void>& known) mutable {
    promise.deliver(make_reply<std::uint32_t>(known ? opened(plan) : known.failure()));
  });
  return promise;
}

reply<void> round_driver::close(const std::string& who) {
  wake();
  if (broken_) return make_reply<void>(*broken_);
  if (!book_.running())
    return make_reply<void>(error{errc::conflict, "no round of '" + deps_.adapter + "' is open"});
  const auto d = tell(fed::close_now{who});
  advance();
  if (!d) return make_reply<void>(d.failure());
  return make_reply<void>(d->refusal ? result<void>(*d->refusal) : result<void>());
}

// -- operators

client_lookup round_driver::clients() const {
  return [this](const std::string& client) -> client_view {
    const auto at = shadows_.find(client);
    return at == shadows_.end() ? client_view{} : client_view{at->second.site, at->second.step};
  };
}

msg<schema::Round> round_driver::message_of(const fed::training_round& r) const {
  const auto who = clients();
  return round_message({r, deps_.how, who, now()});
}

msg<schema::Round> round_driver::message_of(const round_book::damage& d) const {
  return msg<schema::Round>::build([&](schema::Round::Builder b) {
    b.setAdapter(deps_.adapter);
    b.setNumber(d.round);
    b.setState(schema::RoundState::VOIDED);
    b.setReason("damaged, not continued: " + d.what);
  });
}

reply<msg<schema::RoundList>> round_driver::list() const {
  if (broken_) return make_reply<msg<schema::RoundList>>(*broken_);
  std::vector<msg<schema::Round>> rounds;
  for (const auto& d : book_.damaged()) rounds.push_back(message_of(d));
  for (const auto& r : book_.kept()) rounds.push_back(message_of(r));
  std::stable_sort(rounds.begin(), rounds.end(), [](const auto& a, const auto& b) {
    return a.read()->getNumber() < b.read()->getNumber();
  });
  if (rounds.size() > rounds_listed)
    rounds.erase(rounds.begin(), rounds.end() - static_cast<std::ptrdiff_t>(rounds_listed));
  return make_reply<msg<schema::RoundList>>(round_list(rounds));
}

result<msg<schema::Explanation>> round_driver::explanation(const version_id& id) const {
  const auto* row = version(id.number);
  if (row == nullptr || id.name != deps_.adapter)
    return error{errc::not_found, "no version " + to_string(id) + " is registered"};
  const auto number = book_.round_of_version(id.number);
  if (number == 0)
    return explanation_message(
        *row, nullptr, "no round made it: " + std::string(row->read()->getSource().cStr()), {});
  const auto round = book_.find(number);
  if (!round) return round.failure();
  msg<schema::Explanation> numbers;
  if (!round->verdict_digest().empty()) {
    const auto bytes = deps_.blobs->get(round->verdict_digest());
    if (bytes)
      if (auto read = msg<schema::Explanation>::from_bytes(*bytes)) numbers = *read;
  } else if (gate_ && book_.newest()->setup().round == number) {
    numbers = verdict_message(gate_->judge(), deps_.gate.margin);
  }
  const auto who = clients();
  const round_view view{*round, deps_.how, who, now()};
  const auto verdict = round->verdict_digest().empty() && !numbers.empty()
                           ? std::string(numbers.read()->getVerdict().cStr())
                           : round->reason();
  return explanation_message(*row, &view, verdict, numbers);
}

caf::result<reply<msg<schema::Explanation>>> round_driver::explain(const version_id& id) {
  using answer = msg<schema::Explanation>;
  if (broken_) return make_reply<answer>(*broken_);
  auto promise = self_->make_response_promise<reply<answer>>();
  refresh([this, promise, id](const result<void>& known) mutable {
    promise.deliver(make_reply<answer>(known ? explanation(id) : known.failure()));
  });
  return promise;
}

result<msg<schema::Replay>> round_driver::replayed(std::uint32_t number,
                                                   const std::string& without) {
  const auto round = book_.find(number);
  if (!round) return round.failure();
  if (round->sum_digest().empty())
    return error{errc::conflict, "round " + std::to_string(number) + " is " +
                                     std::string(to_string(round->state())) +
                                     ": it has no sum to compare with"};
  const auto& updates = round->accepted();
  if (std::none_of(updates.begin(), updates.end(), [&](auto& u) { return u.client == without; }))
    return error{errc::not_found, "round " + std::to_string(number) + " has no update of '" +
                                      without + "'; it has: " + names_of(*round)};
  const auto* parent = version(round->setup().parent);
  if (parent == nullptr)
    return error{errc::not_found, "its parent, version " + std::to_string(round->setup().parent) +
                                      ", is not registered"};
  const auto from = factors_.of(*parent, book_);
  if (!from) return from.failure();
  const auto original = factors_.stored(round->sum_digest());
  if (!original) return original.failure();
  const auto made = factors_.sum(*round, *from, without);
  if (!made) return made.failure();
  const auto built_on = book_.built_on(number);
  return msg<schema::Replay>::build([&](schema::Replay::Builder b) {
    b.setAdapter(deps_.adapter);
    b.setRound(number);
    b.setWithout(without);
    b.setDigest(store::digest_of(std::as_bytes(std::span(made->factors))));
    b.setOriginal(round->sum_digest());
    b.setUpdates(static_cast<std::uint32_t>(made->weights.size()));
    b.setRelativeChange(relative_change(made->factors, *original));
    auto later = b.initBuiltOn(static_cast<std::uint32_t>(built_on.size()));
    for (std::uint32_t i = 0; i < built_on.size(); ++i) later.set(i, built_on[i]);
  });
}

caf::result<reply<msg<schema::Replay>>> round_driver::replay(std::uint32_t round,
                                                             const std::string& without) {
  using answer = msg<schema::Replay>;
  if (broken_) return make_reply<answer>(*broken_);
  auto promise = self_->make_response_promise<reply<answer>>();
  refresh([this, promise, round, without](const result<void>& known) mutable {
    promise.deliver(make_reply<answer>(known ? replayed(round, without) : known.failure()));
  });
  return promise;
}

}  // namespace collm::actors
