#include "text/stop_matcher.hpp"

#include <utility>

#include "messages/assert.hpp"

namespace collm::text {

stop_matcher::stop_matcher(std::string stop) : stop_(std::move(stop)) {
  COLLM_ASSERT(!stop_.empty());
  fallback_.assign(stop_.size() + 1, 0);
  for (std::size_t i = 1, k = 0; i < stop_.size(); ++i) {
    while (k > 0 && stop_[i] != stop_[k]) k = fallback_[k];
    if (stop_[i] == stop_[k]) ++k;
    fallback_[i + 1] = k;
  }
}

bool stop_matcher::push(char byte) {
  if (matched_ == stop_.size()) matched_ = fallback_[matched_];
  while (matched_ > 0 && stop_[matched_] != byte) matched_ = fallback_[matched_];
  if (stop_[matched_] == byte) ++matched_;
  return matched_ == stop_.size();
}

}  // namespace collm::text
