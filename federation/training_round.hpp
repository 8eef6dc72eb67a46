// One federated round as a state machine over its journal: opened, assigned, training, uploading,
// closed | voided, summed, candidate, gate, canary, serving | rejected. Pure; owner: the
// aggregator.
//
// An event is decided first (decide: const), its records go to the journal, and only then are they
// applied: no transition is visible before it is durable. What is to be done follows from the state
// alone (due), so after a restart the same things are due again; all of them may be done twice.
//
//     auto d = round.decide(event, now);          // refusal, or records
//     journal.append(d.records);                  // durable
//     for (auto& r : d.records) round.apply(r);   // visible
//     for (auto& a : round.due()) …               // done, until their own event comes
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "federation/round_record.hpp"
#include "messages/result.hpp"

namespace collm::federation {

/// As DESIGN's section 8 and the schema's enum name them.
enum class round_state : std::uint8_t {
  opened,
  assigned,
  training,
  uploading,
  closed,
  voided,
  summed,
  candidate,
  gate,
  canary,
  serving,
  rejected
};
std::string_view to_string(round_state s);
inline bool is_final(round_state s) {
  return s == round_state::voided || s == round_state::serving || s == round_state::rejected;
}

// -- events: what the aggregator was told
struct tasks_sent {};
struct client_began {
  std::string client = {};
  std::uint32_t attempt = 0;
};
struct upload_began {
  std::string client = {};
  std::uint32_t attempt = 0;
};
/// Checked (update.hpp), and its blob is durable.
struct update_arrived {
  std::string client = {};
  std::uint32_t task_round = 0, attempt = 0;
  std::string digest = {};
  std::int64_t tokens = 0;
  std::uint32_t staleness = 0;
  double norm = 0;
  std::vector<std::uint32_t> ranks = {};  ///< its own, see update_header
};
struct update_was_wrong {
  std::string client = {};
  std::uint32_t attempt = 0;
  std::string reason = {};
};
struct client_declined {
  std::string client, reason;
};
struct time_passed {};
/// Somebody asks to close before the deadline: the coordinator or an operator.
struct close_now {
  std::string who;
};
struct sum_stored {
  std::string digest;
  double error = -1;  ///< aggregation error of the mode; -1: not measured
};
/// The sum cannot be made (a blob is damaged, no update weighs anything), or is no new version.
struct sum_failed {
  std::string reason;
};
struct version_registered {
  std::uint32_t version = 0;
};
struct gate_began {};
enum class gate_outcome : std::uint8_t { promote, reject, undecided };
struct gate_judged {
  gate_outcome outcome = gate_outcome::reject;
  std::string reason = {};
  std::string digest = {};  ///< of the blob that holds the verdict; empty: none
};
struct canary_began {};
struct canary_ended {
  bool passed = false;
  std::string reason = {};
};
struct version_promoted {};
/// The registry did not take it: another version serves than the one that it was judged against.
struct promotion_refused {
  std::string reason;
};
struct head_returned {};

using round_event =
    std::variant<tasks_sent, client_began, upload_began, update_arrived, update_was_wrong,
                 client_declined, time_passed, close_now, sum_stored, sum_failed,
                 version_registered, gate_began, gate_judged, canary_began, canary_ended,
                 version_promoted, promotion_refused, head_returned>;

struct round_decision {
  std::vector<round_record> records = {};  ///< to journal, then to apply; empty: nothing changes
  bool repeated = false;                   ///< known already: acknowledge it again, it counted once
  std::optional<error> refusal = {};       ///< for who sent the event
};

// -- actions: what the state asks for
enum class action_kind : std::uint8_t {
  offer,         ///< client, steps: its task
  sum,           ///< the accepted updates into one adapter
  register_sum,  ///< digest: a number from the registry
  begin_gate,    ///< version
  judge,         ///< version: the sites evaluate
  begin_canary,  ///< version
  watch_canary,  ///< version
  promote,       ///< version: the registry's transaction
  withdraw       ///< version: candidate to rejected, or canary to rolled_back
};
struct round_action {
  action_kind kind = action_kind::offer;
  std::string client = {};
  std::uint32_t steps = 0;
  std::string digest = {};
  std::uint32_t version = 0;
  friend bool operator==(const round_action&, const round_action&) = default;
};

struct accepted_update {
  std::string client = {};
  std::uint32_t task_round = 0, attempt = 0;
  std::string digest = {};
  std::int64_t tokens = 0;
  std::uint32_t staleness = 0;
  double norm = 0;
  std::vector<std::uint32_t> ranks = {};
  friend bool operator==(const accepted_update&, const accepted_update&) = default;
};

enum class participant_state : std::uint8_t {
  offered,
  training,
  uploading,
  accepted,
  declined,
  refused
};

/// Nothing more comes of it in this round.
inline bool is_over(participant_state s) {
  return s == participant_state::accepted || s == participant_state::declined ||
         s == participant_state::refused;
}

class training_round {
 public:
  /// The first record. bad_request: no participant, one named twice, a quorum above their number,
  /// or no deadline. fedbuff takes late updates of others too, so there the quorum is free.
  static result<round_record> open(const round_setup& setup, double now_ms);
  /// The round whose journal this is. corrupt: names the record that cannot follow.
  static result<training_round> replay(std::span<const round_record> records);

  /// `counted`: updates that earlier rounds counted, so that fedbuff counts none twice; the keys of
  /// the last `staleness_max` rounds suffice.
  void know_counted(std::vector<std::pair<std::string, std::uint32_t>> counted) {
    counted_ = std::move(counted);
  }

  round_decision decide(const round_event& event, double now_ms) const;
  result<void> apply(const round_record& record);
  std::vector<round_action> due() const;

  const round_setup& setup() const { return setup_; }
  round_state state() const { return state_; }
  const std::vector<accepted_update>& accepted() const { return accepted_; }
  const std::map<std::string, participant_state>& participants() const { return participants_; }
  double deadline_at_ms() const { return deadline_at_ms_; }  ///< on the aggregator's clock
  double opened_at_ms() const { return opened_at_ms_; }
  double last_at_ms() const { return last_at_ms_; }  ///< of the newest record
  const std::string& sum_digest() const { return sum_digest_; }
  std::uint32_t version() const { return version_; }  ///< from `candidate` on
  bool undecided() const { return undecided_; }
  const std::string& reason() const { return reason_; }  ///< why it is where it is
  /// Why a client declined or was refused; empty: it did not, or came again.
  std::string reason_of(const std::string& client) const;
  const std::string& verdict_digest() const { return verdict_digest_; }  ///< of the gate's, if any
  double aggregation_error() const { return error_; }                    ///< -1: not measured
  std::uint32_t updates_with_tokens() const;
  /// Of the accepted ones; for the next round's norm check.
  double median_norm() const;

  friend bool operator==(const training_round&, const training_round&) = default;

 private:
  struct decider;
  bool collecting() const { return state_ <= round_state::uploading; }
  bool all_answered_but(const std::string& client) const;
  const accepted_update* find(const std::string& client, std::uint32_t task_round) const;
  void apply_to_round(const round_record& r);

  round_setup setup_;
  round_state state_ = round_state::opened;
  std::map<std::string, participant_state> participants_;
  std::vector<accepted_update> accepted_;  ///< in the order of arrival
  std::vector<std::pair<std::string, std::uint32_t>> counted_;
  std::map<std::string, std::string> client_reasons_;
  double deadline_at_ms_ = 0, opened_at_ms_ = 0, last_at_ms_ = 0, error_ = -1;
  std::string sum_digest_, reason_, verdict_digest_;
  std::uint32_t version_ = 0;
  bool passed_ = false, canary_passed_ = false, undecided_ = false;
};

}  // namespace collm::federation
