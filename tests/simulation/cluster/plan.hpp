// What happens to a simulated cluster, drawn from a seed before anything runs: its size, its
// requests, and its bad days.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/simulation/cluster/gateway.hpp"
#include "tests/simulation/cluster/node.hpp"

namespace collm::simulation {

enum class act {
  ask,           ///< a request at a node's gateway, or, `who` = nodes, at the head's
  load,          ///< a folder, at a node
  load_at_head,  ///< on every node
  unload,        ///< at a node
  roll_back,     ///< by an operator at the head
  kill_node,     ///< kill -9
  kill_head,     ///< kill -9; started again later
  kill_at_call,  ///< the head, at its so-many-th durable call from then on
  full_disk,     ///< of the head, for a while
  cut,           ///< the connection of a node breaks
  black_hole,    ///< what a node and the head say does not get through, for a while
  slow_link,     ///< bytes of a node's link travel long, for a while
  stop_node,     ///< SIGSTOP for a while
  stop_head,     ///< the same
  close_round,   ///< by an operator
  fail_steps,    ///< the next ones of a node's engines; three in a row end an engine
  sleep          ///< the whole machine: nobody has a turn and the clock jumps
};

struct step {
  milliseconds at{0};
  act what = act::ask;
  std::uint32_t who = 0;
  milliseconds lasts{0};
  std::uint32_t calls = 0;
  std::string name = {}, folder = {};
  wanted_request asked = {};
};

struct plan {
  std::uint64_t seed = 0;
  std::vector<node_facts> nodes;
  learning_facts learns;
  std::vector<step> steps;  ///< in the order of time
  milliseconds ends{0};     ///< from then on nothing is asked and nothing breaks
  std::string text() const;
};

plan draw_plan(std::uint64_t seed);
std::string text_of(const step& s, const plan& of);

}  // namespace collm::simulation
