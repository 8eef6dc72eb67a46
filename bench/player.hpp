// Plays a workload against OpenAI gateways, open loop: each request is sent at its own time
// whatever the others do, and is timed from that time, so that a slow server cannot hide its queue
// (no coordinated omission). Blocking; runs its own threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bench/workload.hpp"
#include "messages/result.hpp"

namespace collm::bench {

enum class outcome : std::uint8_t {
  answered,  ///< finished by itself: stop or length
  refused,   ///< 429 or 503 before anything was computed
  failed,    ///< anything else
};

/// What one request was like; times in ms from its planned send time.
struct played_request {
  std::uint32_t index = 0;  ///< in the workload
  outcome how = outcome::failed;
  std::string error;        ///< refused, failed: the server's words
  std::string answered_by;  ///< "assistant@0"
  std::string text;
  std::uint32_t retries = 0;  ///< times it was sent again because nobody answered at all
  double sent_ms = 0;         ///< how late the player was: planned to sent
  double ttft_ms = 0, e2el_ms = 0, tpot_ms = 0;
  std::vector<double> itl_ms;
  std::uint32_t prompt_tokens = 0, output_tokens = 0;
  bool judged = false, right = false;
};

struct play_options {
  std::map<std::string, std::string>
      gateways;  ///< site -> base URL; "" answers for sites that are not listed
  std::string key;
  std::string ca;  ///< PEM file of whom to trust at https; empty: the system's authorities
  std::uint32_t max_concurrency = 128;  ///< beyond it requests wait, and their wait is counted
  bool chat = true;                     ///< false: /v1/completions with the last message as prompt
  bool ignore_eos = false;
  /// A request that met no listener, or lost its connection before the first byte of an answer, is
  /// sent again, as the stock clients do; its times still count from its planned time.
  std::chrono::milliseconds retry_for{20000};
  std::uint64_t seed = 0;
  std::string backend_path;  ///< another server's path; empty: ours
  bool extensions = true;    ///< false: only OpenAI's fields, for other servers
  /// Looked at about every 100 ms, by several threads: once it holds nothing more is sent and what
  /// runs is given up. Empty: the whole workload is played.
  std::function<bool()> over = {};
};

struct play_result {
  std::vector<played_request> requests;
  double seconds = 0;  ///< first planned send to last answer
  std::uint32_t peak_concurrent = 0;
  double own_cpu_share = 0;  ///< of one core, by this process while playing
};

/// Every request has a record, in the workload's order. Refuses a workload whose site has no
/// gateway. cancelled: `over` held before the end.
result<play_result> play(const workload& what, const play_options& options);

}  // namespace collm::bench
