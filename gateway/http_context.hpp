// What all handlers of one gateway share. Asio thread only, except the counters and what says so
// itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "gateway/access.hpp"
#include "gateway/http_options.hpp"
#include "gateway/io_gate.hpp"
#include "gateway/port.hpp"
#include "gateway/prompt.hpp"

namespace collm::gateway {

class event_feed;

/// Any thread.
struct http_counters {
  std::atomic<std::uint64_t> connections_open{0}, connections_refused{0}, connections_evicted{0},
      requests{0}, internal_errors{0};
};

struct http_context {
  const http_options options;
  port& runtime;
  const prompt_encoder encoder;
  const std::shared_ptr<io_gate> gate;
  authenticator access;
  wrong_keys wrong;
  http_counters counters;
  std::mt19937_64 random;
  event_feed* events = nullptr;
  std::size_t body_bytes = 0;  ///< of all requests that are being received

  /// 16 hex digits.
  std::string random_id();
};

}  // namespace collm::gateway
