// COLLM_ASSERT: an invariant of ours. Always on. Never for input. State is unknown once it fails,
// so it aborts.
#pragma once

namespace collm {
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);
}

#define COLLM_ASSERT(cond) ((cond) ? void(0) : ::collm::assertion_failed(#cond, __FILE__, __LINE__))
