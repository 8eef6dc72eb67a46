// What one caller may take of a gateway: requests and tokens a time, connections at once, wrong
// keys. Pure: time is an argument. The gateway's Asio thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace collm::gateway {

using quota_clock = std::chrono::steady_clock;

/// Refills by `rate` a second up to `most`. What is charged without asking may overdraw it: then
/// nothing is to be had until that is paid back.
class token_bucket {
 public:
  /// `rate` 0: no bound.
  explicit token_bucket(double rate = 0, double most = 0) : rate_(rate), most_(most), left_(most) {}

  bool bounded() const { return rate_ > 0; }
  double rate() const { return rate_; }
  double most() const { return most_; }
  double left(quota_clock::time_point now);
  /// Until `amount` is there, ms; 0: it is.
  double wait_ms(double amount, quota_clock::time_point now);
  void charge(double amount, quota_clock::time_point now);

 private:
  double rate_, most_, left_;
  std::optional<quota_clock::time_point> filled_;
};

/// Requests of one tenant that are under way, and how long they take.
class open_requests {
 public:
  void enter() { ++open_; }
  void leave(quota_clock::duration held);
  std::uint32_t open() const { return open_; }
  /// When the next of them may be expected to end, ms, by how long the last ones took; a second
  /// while none has ended.
  double next_end_ms() const;

 private:
  std::uint32_t open_ = 0;
  double held_ms_ = 0;  ///< mean; 0: none has ended
};

/// Wrong keys by address: who sends many has to wait, whatever key comes next.
class wrong_keys {
 public:
  static constexpr double at_once = 10, per_s = 1;
  static constexpr std::size_t addresses_max = 4096;

  /// `address`: one caller's, or of a network that is one caller's for all we know.
  void note(const std::string& address, quota_clock::time_point now);
  /// Until that address may try a key again, ms; 0: it may.
  double wait_ms(const std::string& address, quota_clock::time_point now);

 private:
  std::map<std::string, token_bucket> by_address_;
};

}  // namespace collm::gateway
