#include "actors/update_intake.hpp"

#include <algorithm>

#include "actors/round_factors.hpp"
#include "messages/limits.hpp"

namespace collm::actors {

namespace {

namespace fed = federation;
constexpr std::size_t chunk_bytes_max = limits{}.chunk_bytes_max;

/// The update itself is wrong; anything else is ours or the line's.
bool is_its_own_fault(const error& e) { return e.code == errc::bad_request; }

}  // namespace

result<fed::update_header> header_of(const schema::UpdateHeader::Reader& r) {
  if (r.getTrained() > schema::TrainedFactors::B_ONLY)
    return error{errc::bad_request, "update refused: its trained half is of a later release"};
  fed::update_header h;
  h.client = r.getClient().cStr();
  h.round = r.getRound();
  h.attempt = r.getAttempt();
  h.adapter = r.getAdapter().cStr();
  h.base_digest = r.getBaseDigest().cStr();
  h.parent = r.getParent();
  h.parent_digest = r.getParentDigest().cStr();
  h.trained = static_cast<fed::trained_factors>(r.getTrained());
  h.tokens = r.getTokens();
  h.values = r.getValues();
  h.digest = r.getDigest().cStr();
  for (const auto rank : r.getRanks()) h.ranks.push_back(rank);
  return h;
}

bool update_intake::counts_already(const fed::update_header& h, const round_book& book) const {
  const auto& accepted = book.newest()->accepted();
  return std::any_of(accepted.begin(), accepted.end(), [&](const auto& u) {
    return u.client == h.client && u.task_round == h.round && u.digest == h.digest;
  });
}

/// What the update must be like: by the round that runs, and, for a late one, by the task that it
/// answers.
result<update_intake::task> update_intake::task_of(const fed::update_header& h,
                                                   const round_book& book) const {
  const auto& now = book.newest()->setup();
  task t;
  t.terms = {.adapter = terms_.adapter,
             .base_digest = terms_.base_digest,
             .parent = now.parent,
             .parent_digest = now.parent_digest,
             .trained = now.trained,
             .shape = terms_.shape,
             .how = terms_.how,
             .median_norm = now.median_norm};
  if (h.round == now.round) return t;
  if (!terms_.how.fedbuff || h.round > now.round)
    return error{errc::conflict, "the update is of round " + std::to_string(h.round) + ", round " +
                                     std::to_string(now.round) + " runs"};
  if (book.forgotten(h.round))
    return error{errc::conflict, "the update is of round " + std::to_string(h.round) +
                                     ", too long ago to tell whether it counts already"};
  const auto then = book.find(h.round);
  if (!then) return then.failure();
  if (!then->participants().contains(h.client))
    return error{errc::forbidden, h.client + " was not asked in round " + std::to_string(h.round)};
  if (h.parent != then->setup().parent || h.parent_digest != then->setup().parent_digest)
    return error{errc::bad_request, "update refused: parent is " + std::to_string(h.parent) +
                                        ", the task's was " + std::to_string(then->setup().parent)};
  t.staleness = book.staleness(h.round);
  return t;
}

std::set<std::string> update_intake::coming() const {
  std::set<std::string> out;
  for (const auto& [client, digest] : coming_) out.insert(digest);
  return out;
}

/// A client has one update on its way: what came of another is dropped.
result<void> update_intake::one_at_a_time(const fed::update_header& h) {
  auto& coming = coming_[h.client];
  if (coming == h.digest) return {};
  const auto before = std::exchange(coming, h.digest);
  const bool shared = std::any_of(coming_.begin(), coming_.end(),
                                  [&](const auto& c) { return c.second == before; });
  if (before.empty() || shared) return {};
  return blobs_->drop_incoming(before);
}

error update_intake::refused(const fed::update_header& h, const error& why, round_book& book,
                             double now_ms) const {
  if (!is_its_own_fault(why) || h.round != book.newest()->setup().round) return why;
  const auto told = book.tell(fed::update_was_wrong{h.client, h.attempt, why.message}, now_ms);
  return told ? why : told.failure();
}

result<void> update_intake::may_come(const fed::update_header& h, const round_book& book) const {
  const auto& round = *book.newest();
  const auto number = std::to_string(round.setup().round);
  if (round.state() > fed::round_state::uploading) {
    if (terms_.how.fedbuff)
      return error{errc::unavailable, "between two rounds; it counts in the next", 1000};
    return error{errc::conflict, "round " + number + " is " +
                                     std::string(to_string(round.state())) +
                                     ": an update comes too late"};
  }
  if (h.round != round.setup().round) return {};
  const auto client = round.participants().find(h.client);
  if (client == round.participants().end())
    return error{errc::forbidden, h.client + " was not asked in round " + number};
  if (client->second == fed::participant_state::refused)
    return error{errc::forbidden, round.reason_of(h.client) + " (in round " + number + ")"};
  return {};
}

result<update_intake::place> update_intake::take(const fed::update_header& h, std::uint64_t at,
                                                 std::span<const std::byte> data, round_book& book,
                                                 double now_ms) {
  if (book.newest() == nullptr) return error{errc::conflict, "no round is open"};
  if (counts_already(h, book)) return place{h.values * sizeof(float), true};
  if (auto may = may_come(h, book); !may) return may.failure();
  const auto& round = *book.newest();
  const auto t = task_of(h, book);
  if (!t) return refused(h, t.failure(), book, now_ms);
  if (auto fine = check_header(h, t->terms, t->staleness); !fine)
    return refused(h, fine.failure(), book, now_ms);
  if (data.size() > chunk_bytes_max)
    return error{errc::too_large, "a chunk has at most 1 MiB, not " + std::to_string(data.size())};

  if (auto fine = one_at_a_time(h); !fine) return fine.failure();
  auto next = blobs_->begin(h.digest, h.values * sizeof(float));
  if (!next) return next.failure();
  if (h.round == round.setup().round)
    if (auto told = book.tell(fed::upload_began{h.client, h.attempt}, now_ms); !told)
      return told.failure();
  if (!data.empty() && *next < h.values * sizeof(float)) next = blobs_->append(h.digest, at, data);
  if (!next) return next.failure();
  if (*next < h.values * sizeof(float)) return place{*next, false};
  return finish(h, *t, book, now_ms);
}

result<update_intake::place> update_intake::finish(const fed::update_header& h, const task& t,
                                                   round_book& book, double now_ms) {
  if (auto whole = blobs_->finish(h.digest); !whole) return whole.failure();
  open_blobs open(*blobs_);
  blob_source values(open, h.digest, h.values);
  const auto norm = check_values(values, t.terms);
  coming_.erase(h.client);
  if (!norm) return refused(h, norm.failure(), book, now_ms);
  const auto told = book.tell(fed::update_arrived{.client = h.client,
                                                  .task_round = h.round,
                                                  .attempt = h.attempt,
                                                  .digest = h.digest,
                                                  .tokens = h.tokens,
                                                  .staleness = t.staleness,
                                                  .norm = *norm,
                                                  .ranks = h.ranks},
                              now_ms);
  if (!told) return told.failure();
  if (told->refusal) return *told->refusal;
  return place{h.values * sizeof(float), true};
}

}  // namespace collm::actors
