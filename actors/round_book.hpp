// The rounds of one adapter and the journal that holds them. Nothing is visible here before it is
// durable there. A part of the aggregator; its thread.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "federation/round_sequence.hpp"
#include "federation/training_round.hpp"
#include "store/round_journal.hpp"

namespace collm::actors {

class round_book {
 public:
  struct damage {
    std::uint32_t round = 0;
    std::string what;
  };

  round_book(std::string adapter, std::shared_ptr<store::round_journal> journal)
      : adapter_(std::move(adapter)), journal_(std::move(journal)) {}

  /// Replays every round. A damaged one is told in damaged() and counts as void; its number is not
  /// given again. io, corrupt: the journal cannot be read at all.
  result<void> load();
  const std::vector<damage>& damaged() const { return damaged_; }

  /// Opens a round under the next number. conflict: one is not final yet; else as
  /// training_round::open, or the journal's.
  result<void> start(federation::round_setup setup, double now_ms);
  /// Decides, journals, applies. The error is the journal's: nothing has changed then.
  result<federation::round_decision> tell(const federation::round_event& e, double now_ms);

  /// The newest round; null: none yet, or the newest is damaged.
  const federation::training_round* newest() const { return current_ ? &kept_.back() : nullptr; }
  bool running() const { return current_ && !federation::is_final(kept_.back().state()); }
  std::uint32_t next_number() const { return last_number_ + 1; }
  /// The newest rounds, oldest first: at most 256, fewer where they have many participants.
  const std::deque<federation::training_round>& kept() const { return kept_; }
  /// Whether the round is older than all that are kept: what counted of its tasks is not known.
  bool forgotten(std::uint32_t round) const {
    return !kept_.empty() && round < kept_.front().setup().round;
  }
  /// Any round, from the journal where it is no longer kept. not_found, corrupt.
  result<federation::training_round> find(std::uint32_t round) const;
  /// The round that made a version; 0: none did.
  std::uint32_t round_of_version(std::uint32_t version) const;
  /// All that have ended, oldest first.
  const std::vector<federation::round_outcome>& ended() const { return ended_; }
  /// Later rounds that started from what `round` made, or from what such a round made.
  std::vector<std::uint32_t> built_on(std::uint32_t round) const;
  /// Of the updates that the last round with any accepted; 0: none.
  double median_norm() const;
  /// Versions that a client's parent is behind: rounds since its task's that began elsewhere.
  std::uint32_t staleness(std::uint32_t task_round) const;
  /// Whether the client's update of that task counts in any round that is kept.
  bool counts(const std::string& client, std::uint32_t task_round) const;
  /// Clock on which the newest record lies; 0: none.
  double last_at_ms() const;

 private:
  result<federation::training_round> replayed(std::uint32_t round) const;
  void keep(federation::training_round r);
  void note_end();
  void know_counted();

  std::string adapter_;
  std::shared_ptr<store::round_journal> journal_;
  std::deque<federation::training_round> kept_;
  std::vector<federation::round_outcome> ended_;
  std::vector<damage> damaged_;
  std::uint32_t last_number_ = 0;
  bool current_ = false;  ///< kept_.back() is the newest round
};

}  // namespace collm::actors
