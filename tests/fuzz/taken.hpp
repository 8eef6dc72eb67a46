// Unwraps what a fuzz target cannot start without.
#pragma once

#include <utility>

#include "messages/assert.hpp"
#include "messages/result.hpp"

namespace collm::fuzz {

template <class T>
T taken(result<T> made) {
  COLLM_ASSERT(made);
  return std::move(*made);
}

}  // namespace collm::fuzz
