#include "gateway/quota.hpp"

#include <algorithm>
#include <cmath>

namespace collm::gateway {
namespace {

using ms = std::chrono::duration<double, std::milli>;

}  // namespace

double token_bucket::left(quota_clock::time_point now) {
  if (filled_ && now > *filled_) {
    left_ = std::min(most_, left_ + rate_ * std::chrono::duration<double>(now - *filled_).count());
  }
  filled_ = std::max(now, filled_.value_or(now));
  return left_;
}

double token_bucket::wait_ms(double amount, quota_clock::time_point now) {
  if (!bounded()) return 0;
  const double lacks = amount - left(now);
  // Less than a thousandth of a ms is arithmetic's.
  return lacks <= 0 ? 0 : std::ceil(lacks / rate_ * 1000 - 1e-3);
}

void token_bucket::charge(double amount, quota_clock::time_point now) {
  if (bounded()) left_ = left(now) - amount;
}

void open_requests::leave(quota_clock::duration held) {
  --open_;
  const double took = ms(held).count();
  held_ms_ = held_ms_ > 0 ? held_ms_ + 0.2 * (took - held_ms_) : took;
}

double open_requests::next_end_ms() const {
  return held_ms_ > 0 ? held_ms_ / std::max(1u, open_) : 1000;
}

void wrong_keys::note(const std::string& address, quota_clock::time_point now) {
  auto at = by_address_.find(address);
  if (at == by_address_.end()) {
    if (by_address_.size() >= addresses_max) {  // who has sent the fewest is forgotten
      by_address_.erase(std::max_element(
          by_address_.begin(), by_address_.end(),
          [&](auto& a, auto& b) { return a.second.left(now) < b.second.left(now); }));
    }
    at = by_address_.emplace(address, token_bucket(per_s, at_once)).first;
  }
  at->second.charge(1, now);
}

double wrong_keys::wait_ms(const std::string& address, quota_clock::time_point now) {
  const auto at = by_address_.find(address);
  return at == by_address_.end() ? 0 : at->second.wait_ms(1, now);
}

}  // namespace collm::gateway
