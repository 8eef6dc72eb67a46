// So many at once, so many a second after that. Pure: time is an argument.
#pragma once

#include <algorithm>

namespace collm::link {

class pace {
 public:
  pace(double at_once, double a_second) : at_once_(at_once), a_second_(a_second), left_(at_once) {}

  /// `now_s` never falls. False: too fast.
  bool take(double now_s) {
    left_ = std::min(at_once_, left_ + (now_s - then_s_) * a_second_);
    then_s_ = now_s;
    if (left_ < 1) return false;
    left_ -= 1;
    return true;
  }

 private:
  const double at_once_, a_second_;
  double left_, then_s_ = 0;
};

}  // namespace collm::link
