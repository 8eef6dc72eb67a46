#include "actors/round_book.hpp"

#include <algorithm>
#include <set>

namespace collm::actors {

namespace {

namespace fed = federation;
constexpr std::size_t rounds_max = 256, participants_max = 1 << 16;

fed::round_outcome outcome_of(const fed::training_round& r) {
  return {.round = r.setup().round,
          .state = r.state(),
          .undecided = r.undecided(),
          .serving = r.setup().serving,
          .version = r.version()};
}

bool made_a_version(const fed::round_outcome& o) { return o.state != fed::round_state::voided; }

}  // namespace

result<fed::training_round> round_book::replayed(std::uint32_t round) const {
  const auto lines = journal_->read(adapter_, round);
  if (!lines) return lines.failure();
  if (lines->empty())
    return error{errc::not_found,
                 "there is no round " + std::to_string(round) + " of '" + adapter_ + "'"};
  std::vector<fed::round_record> records;
  for (const auto& line : *lines) {
    auto record = fed::record_of(line);
    if (!record) return record.failure();
    records.push_back(std::move(*record));
  }
  return fed::training_round::replay(records);
}

result<void> round_book::load() {
  const auto numbers = journal_->rounds(adapter_);
  if (!numbers) return numbers.failure();
  for (const auto number : *numbers) {
    last_number_ = number;
    auto round = replayed(number);
    current_ = static_cast<bool>(round);
    if (round) {
      keep(std::move(*round));
      note_end();
    } else {
      damaged_.push_back({number, round.failure().message});
      ended_.push_back({.round = number});
    }
  }
  if (current_) know_counted();
  return {};
}

void round_book::keep(fed::training_round r) {
  kept_.push_back(std::move(r));
  std::size_t participants = 0;
  for (const auto& k : kept_) participants += k.participants().size();
  while (kept_.size() > 1 && (kept_.size() > rounds_max || participants > participants_max)) {
    participants -= kept_.front().participants().size();
    kept_.pop_front();
  }
}

void round_book::note_end() {
  if (fed::is_final(kept_.back().state())) ended_.push_back(outcome_of(kept_.back()));
}

result<void> round_book::start(fed::round_setup setup, double now_ms) {
  if (running())
    return error{errc::conflict, "round " + std::to_string(last_number_) + " of '" + adapter_ +
                                     "' is " + std::string(to_string(kept_.back().state()))};
  setup.adapter = adapter_;
  setup.round = next_number();
  const auto first = fed::training_round::open(setup, now_ms);
  if (!first) return first.failure();
  const fed::round_record records[] = {*first};
  auto round = fed::training_round::replay(records);
  if (!round) return round.failure();
  if (auto done = journal_->append(adapter_, setup.round, {fed::to_text(*first)}); !done)
    return done.failure();
  last_number_ = setup.round;
  current_ = true;
  keep(std::move(*round));
  know_counted();
  return {};
}

/// Of all rounds from whose tasks an update may still come.
void round_book::know_counted() {
  auto& newest = kept_.back();
  if (!newest.setup().fedbuff) return;
  std::vector<std::pair<std::string, std::uint32_t>> counted;
  for (auto at = std::next(kept_.rbegin()); at != kept_.rend(); ++at)
    for (const auto& u : at->accepted()) counted.emplace_back(u.client, u.task_round);
  newest.know_counted(std::move(counted));
}

result<fed::round_decision> round_book::tell(const fed::round_event& e, double now_ms) {
  if (!current_) return error{errc::conflict, "no round of '" + adapter_ + "' is open"};
  auto& round = kept_.back();
  auto decision = round.decide(e, now_ms);
  if (decision.records.empty()) return decision;
  std::vector<std::string> lines;
  for (const auto& r : decision.records) lines.push_back(fed::to_text(r));
  if (auto done = journal_->append(adapter_, last_number_, lines); !done) return done.failure();
  const bool was_final = fed::is_final(round.state());
  for (const auto& r : decision.records)
    if (auto applied = round.apply(r); !applied) return applied.failure();
  if (!was_final) note_end();
  return decision;
}

result<fed::training_round> round_book::find(std::uint32_t round) const {
  for (const auto& k : kept_)
    if (k.setup().round == round) return k;
  return replayed(round);
}

std::uint32_t round_book::round_of_version(std::uint32_t version) const {
  if (running() && kept_.back().state() >= fed::round_state::candidate &&
      kept_.back().version() == version)
    return last_number_;
  for (auto at = ended_.rbegin(); at != ended_.rend(); ++at)
    if (made_a_version(*at) && at->version == version) return at->round;
  return 0;
}

std::vector<std::uint32_t> round_book::built_on(std::uint32_t round) const {
  std::vector<std::uint32_t> out;
  std::set<std::uint32_t> versions;
  for (const auto& k : kept_) {
    const auto number = k.setup().round;
    if (number < round) continue;
    const bool builds = versions.contains(k.setup().parent);
    if (number != round && !builds) continue;
    if (builds) out.push_back(number);
    if (k.state() >= fed::round_state::candidate) versions.insert(k.version());
  }
  return out;
}

double round_book::median_norm() const {
  for (auto at = kept_.rbegin(); at != kept_.rend(); ++at)
    if (!at->accepted().empty()) return at->median_norm();
  return 0;
}

std::uint32_t round_book::staleness(std::uint32_t task_round) const {
  std::uint32_t behind = 0;
  const fed::training_round* before = nullptr;
  for (const auto& k : kept_) {
    const bool later = before != nullptr && k.setup().round > task_round;
    if (later && k.setup().parent != before->setup().parent) ++behind;
    before = &k;
  }
  return behind;
}

bool round_book::counts(const std::string& client, std::uint32_t task_round) const {
  return std::any_of(kept_.begin(), kept_.end(), [&](const auto& round) {
    const auto& accepted = round.accepted();
    return std::any_of(accepted.begin(), accepted.end(), [&](const auto& u) {
      return u.client == client && u.task_round == task_round;
    });
  });
}

double round_book::last_at_ms() const { return kept_.empty() ? 0 : kept_.back().last_at_ms(); }

}  // namespace collm::actors
