// From the rounds that were to the next one: its number, where it starts, what it trains. Pure.
#pragma once

#include <cstdint>
#include <span>

#include "federation/strategy.hpp"
#include "federation/training_round.hpp"

namespace collm::federation {

/// How a round of an adapter ended.
struct round_outcome {
  std::uint32_t round = 0;
  round_state state = round_state::voided;  ///< a final one
  bool undecided = false;     ///< rejected, yet the next round may start from its candidate
  std::uint32_t serving = 0;  ///< version that served when it opened
  std::uint32_t version = 0;  ///< its candidate, if it came so far
};

struct next_round {
  std::uint32_t round = 1;
  std::uint32_t parent = 0;  ///< version that training starts from
  std::uint32_t phase = 0;   ///< rolora's
  bool keep_moments = true;  ///< false after a rejection: the optimizer starts anew
};

/// Small gains add up: from an undecided candidate the next round goes on, at most this often in a
/// row, and only while the same version serves.
inline constexpr std::uint32_t undecided_in_a_row_max = 3;

/// `history`: all rounds of the adapter, oldest first. rolora's phase moves on with every round
/// that was not void, but stays on B until one has moved it: at B = 0 training A alone is idle.
next_round plan_next(const strategy& s, std::span<const round_outcome> history,
                     std::uint32_t serving_version);

}  // namespace collm::federation
