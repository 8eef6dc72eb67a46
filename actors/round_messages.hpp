// Rounds as they are told: to shadows (Work), to operators (Round, Explanation, Replay). Pure.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/canary_watch.hpp"
#include "coordinator/gate_course.hpp"
#include "coordinator/live_traffic.hpp"
#include "federation/training_round.hpp"
#include "messages/adaptation.capnp.h"
#include "messages/events.capnp.h"
#include "messages/federation.capnp.h"
#include "messages/msg.hpp"
#include "messages/registry.capnp.h"

namespace collm::actors {

/// The source of the version that a round made.
std::string round_source(std::uint32_t round);
/// Whether that is what a VersionRecord's source says: then its factors come from the aggregator
/// and can be read nowhere else.
bool made_by_round(std::string_view source);

msg<schema::Work> no_work();

struct train_task {
  std::uint32_t steps = 0;
  bool keep_moments = true;
  double prox_mu = 0, remaining_ms = 0;
  bool late_counts = false;
};
msg<schema::Work> train_work(const federation::round_setup& setup, const train_task& task);

/// One of the two versions that the gate compares.
struct gate_side {
  std::uint32_t number = 0;
  std::string digest;  ///< of the version
};
msg<schema::Work> evaluate_work(const federation::round_setup& setup, const gate_side& candidate,
                                const gate_side& serving, const coordinator::gate_request& r,
                                bool reference = false);

coordinator::gate_answer answer_of(const schema::Scores::Reader& r);
coordinator::reference_answer reference_of(const schema::Scores::Reader& r);
/// Of one adapter's versions, at most 64, by the site that was asked for.
std::map<std::string, std::vector<coordinator::version_traffic>> traffic_of(
    const schema::Snapshot::Reader& r, const std::string& adapter);

/// What is known of a client beside its round: its site, and the step that it told last.
struct client_view {
  std::string site;
  std::uint32_t step = 0;
};
using client_lookup = std::function<client_view(const std::string& client)>;

struct round_view {
  const federation::training_round& round;
  const federation::strategy& how;
  const client_lookup& clients;
  double now_ms = 0;
};
msg<schema::Round> round_message(const round_view& v);
msg<schema::RoundList> round_list(const std::vector<msg<schema::Round>>& rounds);

/// The gate's numbers; what else an Explanation holds is added when it is asked for.
msg<schema::Explanation> verdict_message(const coordinator::gate_verdict& v, double margin);
msg<schema::Explanation> explanation_message(const msg<schema::VersionRecord>& version,
                                             const round_view* made_by, const std::string& verdict,
                                             const msg<schema::Explanation>& numbers);

/// The verdict in one line: the gate's words, the mean, its bound, who vetoed or was silent.
std::string verdict_line(const coordinator::gate_verdict& v);

}  // namespace collm::actors
