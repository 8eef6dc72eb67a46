#include "messages/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace collm {
void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "collm: invariant broken: %s (%s:%d). This is a bug in CoLLM.\n", condition,
               file, line);
  std::abort();
}
}  // namespace collm
