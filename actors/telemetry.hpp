// The telemetry actor, one a process: counts requests, keeps the event ring, makes one Snapshot a
// slot. Senders never wait.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/engine.hpp"
#include "actors/interfaces.hpp"
#include "actors/meter.hpp"
#include "actors/metrics.hpp"
#include "coordinator/live_traffic.hpp"

namespace collm::actors {

/// A row of the memory ledger as declared in the manifest; `bytes` is filled from what is measured.
struct ledger_row {
  std::string name;
  double budget = 0;
  bool shared = false;
};

struct telemetry_deps {
  std::string node, site, model, kernel_path, http_address;
  meter_board_ptr board;
  std::vector<ledger_row> ledger;
  std::map<std::string, heartbeat> beats;  ///< by replica
  double ttft_slo_ms = 2000, tpot_slo_ms = 120;
  std::function<std::uint32_t()> requests_in_flight;
  std::function<bool()> draining;
  std::function<void(const msg<schema::Event>&)> on_event;  ///< each one as it is taken in: the log
  std::chrono::milliseconds slot{1000};
  std::size_t events_max = 512;  ///< ring; older ones are gone
  meter_ptr counts;
};

struct telemetry_state {
  static inline const char* name = "telemetry";
  std::deque<msg<schema::Event>> events;
  std::deque<std::chrono::steady_clock::time_point> event_times;
  std::uint32_t next_seq = 1;
  std::map<std::string, replica_report_ptr> replicas;
  double answered = 0, refused = 0, failed = 0, cancelled = 0;
  struct sample {
    double at_ms, ttft_ms, tpot_ms;
    bool good;
  };
  std::deque<sample> recent;  ///< of the last minute, at most 4096
  std::map<std::string, coordinator::traffic_counter> traffic;  ///< by site that was asked for
  std::map<version_id, schema::VersionState> states;  ///< of resident versions, as the node told
  struct busy {
    std::uint64_t ns = 0;
    float share = 0, slowest_ms = 0;
  };
  std::map<const meter*, busy> actors;
  double begun_ms = 0, slot_ms = 0;
  msg<schema::Snapshot> snapshot;
  std::unique_ptr<metrics> families;
};

telemetry_actor::behavior_type telemetry_behavior(
    telemetry_actor::stateful_pointer<telemetry_state> self, telemetry_deps deps);

}  // namespace collm::actors
