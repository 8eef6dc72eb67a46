#include "coordinator/reactive_share.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace collm::coordinator {

namespace {
constexpr std::uint32_t outcomes_max = 20;
constexpr double many = 0.05, few = 0.01;  // violations
constexpr double felt_gain = 0.05;
}  // namespace

void reactive_share::on_plan(double share) {
  share = std::clamp(share, 0.0, 1.0);
  if (share == planned_) return;
  planned_ = share_ = share;
}

void reactive_share::remember(const slot_outcome& s) {
  // Order within a slot is not known: late ones count as the last, which is the wary reading.
  const auto push = [&](std::uint32_t count, std::uint32_t bit) {
    for (std::uint32_t i = 0; i < std::min(count, outcomes_max); ++i) {
      recent_ = (recent_ << 1 | bit) & ((1u << outcomes_max) - 1);
      recent_count_ = std::min(recent_count_ + 1, outcomes_max);
    }
  };
  push(s.done, 0);
  push(s.late, 1);
  // Without traffic the past fades, or the last busy second would hold training down for ever.
  if (s.done + s.late > 0 || recent_count_ == 0) return;
  --recent_count_;
  recent_ &= (1u << recent_count_) - 1;
}

void reactive_share::on_slot(const slot_outcome& s) {
  remember(s);
  const double late = s.late, all = s.late + s.done;
  const double recent_late = std::popcount(recent_);
  if (all >= outcomes_max) {
    violations_ = late / all;
  } else {
    violations_ = recent_count_ > 0 ? recent_late / recent_count_ : 0;
  }
  if (violations_ > many) budget_share_ = std::max(0.3, 0.9 * budget_share_);
  if (violations_ < few) budget_share_ = std::min(1.0, budget_share_ + 0.02);

  const bool quiet = s.forecast_per_s > 0 && s.arrivals_per_s < 0.8 * s.forecast_per_s;
  if (planned_ <= 0) return;
  const double floor = std::min(options_.floor_share, planned_);
  if (violations_ > many || s.plan_age_ms > options_.plan_life_ms) {
    share_ = std::max(floor, 0.5 * share_);
  } else if (violations_ < few && quiet) {
    const double most = std::max(share_, std::min(2 * planned_, options_.share_max));
    share_ = std::min(most, share_ + 0.1 * planned_);
  } else {
    share_ += 0.2 * (planned_ - share_);
  }
}

double felt_sample(double alone_ms, double measured_ms, double share) {
  return std::clamp((1 - alone_ms / measured_ms) / share, 0.0, 1.0);
}

void felt_part::observe(double alone_ms, double measured_ms, double share) {
  const bool usable = std::isfinite(alone_ms) && std::isfinite(measured_ms) && measured_ms > 0 &&
                      alone_ms >= 0 && share > 0;
  if (usable) value_ += felt_gain * (felt_sample(alone_ms, measured_ms, share) - value_);
}

}  // namespace collm::coordinator
