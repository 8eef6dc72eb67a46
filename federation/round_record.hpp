// What a round writes down: the journal's records, and their text. A round is the fold of its
// records, so whoever holds the journal holds the round. Pure; durable storage is the store's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "federation/strategy.hpp"
#include "messages/result.hpp"

namespace collm::federation {

/// A client that was asked, and for how many optimizer steps.
struct participant {
  std::string client = {};
  std::uint32_t steps = 0;
  friend bool operator==(const participant&, const participant&) = default;
};

/// What is fixed when a round opens.
struct round_setup {
  std::string adapter = {};
  std::uint32_t round = 0;   ///< numbered per adapter
  std::uint32_t parent = 0;  ///< version that training starts from
  std::string parent_digest = {};
  std::uint32_t serving = 0;  ///< version that served when the round opened
  std::uint32_t phase = 0;    ///< rolora's, see trained_in
  trained_factors trained = trained_factors::both;
  std::uint32_t quorum = 1;  ///< fewest updates that hold tokens
  double deadline_ms = 0;    ///< from opening until it closes without its stragglers
  bool fedbuff = false;
  bool canary = false;     ///< wanted after the gate
  double median_norm = 0;  ///< of the last round's accepted updates; 0: none
  std::vector<participant> participants = {};
  friend bool operator==(const round_setup&, const round_setup&) = default;
};

enum class record_kind : std::uint8_t {
  opened,     ///< setup
  assigned,   ///< every participant was offered its task
  began,      ///< client, attempt
  uploading,  ///< client, attempt
  /// client, task_round, attempt, digest, tokens, staleness, norm, ranks: its blob is durable
  accepted,
  declined,   ///< client, reason: it has nothing to train on
  refused,    ///< client, attempt, reason: its update was wrong
  closed,     ///< reason
  voided,     ///< reason
  summed,     ///< digest of the aggregate: its blob is durable; norm: its error, see sum_stored
  candidate,  ///< version: the registry's number
  gate,
  passed,  ///< reason: the gate's words; digest: of the verdict's blob
  canary,
  canary_passed,  ///< reason
  serving,        ///< version
  rejected,       ///< reason; undecided; digest: as in `passed`
  resumed         ///< the head was away until now: the deadline moves by that time
};
std::string_view to_string(record_kind k);

struct round_record {
  record_kind kind = record_kind::opened;
  double at_ms = 0;  ///< of the aggregator's clock
  std::string client = {};
  std::uint32_t task_round = 0, attempt = 0;
  std::string digest = {};
  std::int64_t tokens = 0;
  std::uint32_t staleness = 0;
  double norm = 0;
  std::vector<std::uint32_t> ranks = {};  ///< of the client's pairs, where they are its own
  std::uint32_t version = 0;
  bool undecided = false;
  std::string reason = {};
  round_setup setup = {};  ///< opened alone
  friend bool operator==(const round_record&, const round_record&) = default;
};

/// One line of key=value, values percent-encoded, numbers exact.
std::string to_text(const round_record& r);
/// corrupt: names what is wrong with the line.
result<round_record> record_of(std::string_view text);

}  // namespace collm::federation
