// What all handlers of one gateway share. Asio thread only, except the counters and what says so
// itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
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

/// Bytes of bodies that are being received. One tenant has half of what all may have.
class body_pool {
 public:
  /// `change` may be a fall, in two's complement.
  void count(const std::string& tenant, std::size_t change) {
    if (change == 0) return;
    if (!tenant.empty() && (by_tenant_[tenant] += change) == 0) by_tenant_.erase(tenant);
    all_ += change;
  }
  bool full(const std::string& tenant, std::size_t most) const {
    const auto own = by_tenant_.find(tenant);
    return all_ > most || (own != by_tenant_.end() && own->second > most / 2);
  }

 private:
  std::size_t all_ = 0;
  std::map<std::string, std::size_t> by_tenant_;
};

struct http_context {
  const http_options options;
  port& runtime;
  const prompt_encoder encoder;
  const std::shared_ptr<io_gate> gate;
  authenticator access;
  wrong_keys wrong;
  http_counters counters;
  std::mt19937_64 random;  ///< used where the options have a seed: tests
  event_feed* events = nullptr;
  body_pool bodies{};

  /// Nobody who sees some can tell others.
  std::uint64_t draw();
  /// 16 hex digits.
  std::string random_id();
};

}  // namespace collm::gateway
