// The bridge: one per request, between a gateway's stream and the runtime. Owns retry before
// anything was computed, the token buffer for a slow reader, cancel, and the request's account for
// telemetry. The stream's calls hop to the gateway's thread.
#pragma once

#include <deque>
#include <functional>

#include "actors/interfaces.hpp"
#include "actors/meter.hpp"

namespace collm::actors {

/// Where a bridge delivers; set by deploy/ to call a gateway::stream.
struct stream_calls {
  std::function<void(msg<schema::Accepted>)> accepted;
  std::function<void(msg<schema::TokenChunk>)> chunk;
  std::function<void(msg<schema::Finish>)> finish;
  std::function<void(msg<schema::Reject>)> reject;
};

struct bridge_deps {
  router_actor router;
  telemetry_actor telemetry;
  stream_calls stream;
  std::function<void(request_id)> ended;  ///< the request left the books; any thread
  std::uint32_t credit = 16;              ///< chunks that may be delivered before the first credit
  std::uint32_t unsent_tokens_max = 1024;
  std::uint32_t retries_max = 2;
  std::chrono::milliseconds retry_after{300};
  meter_ptr counts;
};

using bridge_actor =
    sink_actor::extend<reacts_to<credit_atom, std::uint32_t>,  // chunks written out
                       reacts_to<cancel_atom>,                 // the client went away
                       reacts_to<drain_atom, std::string>,     // ends now, for this reason
                       reacts_to<route_atom>>;                 // to itself: (re)submit

struct bridge_state {
  static inline const char* name = "bridge";
  msg<schema::Request> request;
  std::deque<msg<schema::TokenChunk>> unsent;
  msg<schema::Finish> last;
  std::uint32_t unsent_tokens = 0, credit = 0, retries = 0;
  bool accepted = false, cancelled = false, slow = false, over = false;
  double arrival_ms = 0, first_ms = -1, last_ms = -1;
  std::uint32_t tokens = 0;
  request_outcome outcome;
};

bridge_actor::behavior_type bridge_behavior(bridge_actor::stateful_pointer<bridge_state> self,
                                            bridge_deps deps, msg<schema::Request> request);

}  // namespace collm::actors
