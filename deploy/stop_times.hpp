// How long the parts of an ordered stop take at most. Of a node process and of the head alike, so
// that a head never ends a node that is still giving out what its deadline allows.
#pragma once

#include <chrono>

#include "messages/limits.hpp"

namespace collm::deploy {

/// What runs may go on for so long, then ends with that reason.
inline constexpr std::chrono::milliseconds running_at_most{drain_deadline_ms};
inline constexpr std::chrono::milliseconds ended_at_most{10'000};   ///< ... and is told so
inline constexpr std::chrono::milliseconds settled_at_most{5'000};  ///< the head has every answer
/// ... and clients of a Cap'n Proto port have read theirs, as those of HTTP
/// (http_timeouts::linger).
inline constexpr std::chrono::milliseconds read_at_most{2'000};
/// Gateways, actors, loop, CAF: beyond it the process ends where it is.
inline constexpr std::chrono::milliseconds closed_at_most{15'000};

}  // namespace collm::deploy
