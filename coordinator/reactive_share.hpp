// Corrects a training share between two plans by what happens to requests, once a slot (1 s), and
// measures how much of a training second the requests feel. Pure; owner: one replica.
#pragma once

#include <cstdint>

namespace collm::coordinator {

/// What one slot saw of one replica.
struct slot_outcome {
  std::uint32_t late = 0, done = 0;  ///< requests that ended: broke a promise, kept all
  double arrivals_per_s = 0;
  double forecast_per_s = 0;  ///< 0: none
  double plan_age_ms = 0;
};

class reactive_share {
 public:
  struct options {
    double floor_share = 0.05;    ///< x_min
    double share_max = 0.8;       ///< to which quiet slots may raise it above the plan
    double plan_life_ms = 30000;  ///< three epochs: then training decays to its floor
  };
  explicit reactive_share(const options& o) : options_(o) {}

  /// A plan with another share acts at once; one with the same leaves the correction as it is.
  void on_plan(double share);
  void on_slot(const slot_outcome& s);

  double share() const { return share_; }  ///< x
  /// s_tr in [0.3, 1]: the part of a step's budget that training units may fill up.
  double budget_share() const { return budget_share_; }
  /// Share of late ones over the slot, or over the last 20 outcomes where those are more; a slot
  /// without any forgets the oldest.
  double violations() const { return violations_; }

 private:
  void remember(const slot_outcome& s);
  options options_;
  double planned_ = 0, share_ = 0, budget_share_ = 1, violations_ = 0;
  std::uint32_t recent_ = 0, recent_count_ = 0;  ///< the last outcomes, one bit each, newest lowest
};

/// One sample of the felt part: s_0 and s_x are a request's time from its first step to its last as
/// predicted without units and as measured with them, ms; `share` > 0 is the training share of the
/// slot. clip((1 - s_0/s_x)/x, 0, 1).
double felt_sample(double alone_ms, double measured_ms, double share);

/// xi: how much of a second of training a request feels, 0 to 1; an exponential mean of samples.
class felt_part {
 public:
  void observe(double alone_ms, double measured_ms, double share);
  double value() const { return value_; }

 private:
  double value_ = 1;  ///< wary until measured
};

}  // namespace collm::coordinator
