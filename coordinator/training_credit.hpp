// How much an engine may train: a token bucket in milliseconds of unit time. Pure; owner: one
// engine. The share comes from the plan and its reactive correction.
#pragma once

namespace collm::coordinator {

class training_credit {
 public:
  struct options {
    double floor_share = 0.05;  ///< of a participant during a round, so that none starves
    double bucket_ms = 2000;    ///< times the share: the most that can be saved, or overdrawn
  };
  explicit training_credit(const options& o) : options_(o) {}

  /// Share of time, 0 to 1. A participant of an open round gets at least the floor; share 0 without
  /// one is no training at all.
  void set_share(double share, bool in_round);
  double share() const { return share_; }

  /// Time passes: c <- min(c + x dt, x bucket).
  void advance(double elapsed_ms);
  /// Whether a unit that takes at most `bound_ms` may start. An engine with nothing to serve may
  /// overdraw to -x bucket; the debt is repaid first.
  bool may_start(double bound_ms, bool idle) const;
  /// Every unit, evaluation included, pays what it took.
  void pay(double measured_ms) { credit_ms_ -= measured_ms; }
  double credit_ms() const { return credit_ms_; }

 private:
  options options_;
  double share_ = 0, credit_ms_ = 0;
};

}  // namespace collm::coordinator
