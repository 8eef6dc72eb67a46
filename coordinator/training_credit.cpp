#include "coordinator/training_credit.hpp"

#include <algorithm>

namespace collm::coordinator {

void training_credit::set_share(double share, bool in_round) {
  share_ = std::clamp(in_round ? std::max(share, options_.floor_share) : share, 0.0, 1.0);
}

void training_credit::advance(double elapsed_ms) {
  credit_ms_ =
      std::min(credit_ms_ + share_ * std::max(0.0, elapsed_ms), share_ * options_.bucket_ms);
}

bool training_credit::may_start(double bound_ms, bool idle) const {
  if (share_ <= 0) return false;
  const double debt_max_ms = idle ? share_ * options_.bucket_ms : 0;
  return credit_ms_ - bound_ms >= -debt_max_ms;
}

}  // namespace collm::coordinator
