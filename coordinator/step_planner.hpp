// What one engine step computes: all decodes, then prefill chunks while the predicted time stays
// within the budget that the running requests' promises leave. Pure: time and state are arguments.
// Chunked prefill after Sarathi-Serve (arXiv 2403.02310).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coordinator/latency_model.hpp"

namespace collm::coordinator {

/// Promises to clients, ms.
struct slo {
  double ttft_ms = 2000;
  double tpot_ms = 120;
  /// No step takes longer, however far ahead of its promise what runs may be.
  double step_most_ms() const { return 0.25 * ttft_ms; }
};

/// One sequence as the planner sees it. Times in ms on the engine's clock.
struct planned_sequence {
  std::uint64_t id = 0;
  double arrival_ms = 0;       ///< at the gateway
  double first_token_ms = -1;  ///< -1: none yet
  std::uint32_t length = 0;    ///< tokens known: prompt and produced
  std::uint32_t computed = 0;  ///< tokens whose KV stands
  std::uint32_t produced = 0;
  std::uint32_t max_tokens = 0;
  std::uint32_t blocks = 0;  ///< KV blocks held
  double turn = 0;           ///< what its tenant was given (fairness.hpp): the smallest goes first
  bool batch = false;        ///< gives way to others for half of its TTFT promise
  std::uint32_t left() const { return length - computed; }
  bool decoding() const { return produced > 0 && left() == 1; }
  bool started() const { return blocks > 0; }
};

struct planner_limits {
  std::uint32_t tile = 16;  ///< prefill chunks are multiples of it unless they end the prompt
  std::uint32_t step_tokens_max = 512;  ///< rows of one step
  std::uint32_t block_tokens = 16;
  std::uint32_t blocks_free = 0;
};

struct step_plan {
  struct item {
    std::uint64_t id = 0;
    std::uint32_t tokens = 0;
  };
  std::vector<std::uint64_t> preempt;  ///< first free these
  std::vector<item> work;
  step_features features;
  double budget_ms = 0;
  double bound_ms = 0;    ///< predicted upper bound of the step
  bool overload = false;  ///< the decodes alone exceed the budget
};

class step_planner {
 public:
  explicit step_planner(slo promises) : slo_(promises) {}

  /// `sequences` in order of admission. Keeps one number of history: how often prefill was held
  /// back in a row.
  step_plan plan(std::span<const planned_sequence> sequences, const latency_model& model,
                 planner_limits limits, double now_ms);

  /// Time until a running, not yet lost request would be late with its next token; infinite if
  /// there is none.
  double slack_ms(std::span<const planned_sequence> sequences, const latency_model& model,
                  double now_ms) const;

  /// Time that this step may take so that no running, not yet lost request breaks its promise.
  double budget_ms(std::span<const planned_sequence> sequences, const latency_model& model,
                   double now_ms) const;

 private:
  bool lost(const planned_sequence& s, double now_ms, double decode_ms) const;
  void pack_decodes(std::span<const planned_sequence> sequences, planner_limits& limits,
                    step_plan& plan) const;
  bool needs_the_guard(std::span<const planned_sequence* const> waiting, const latency_model& model,
                       std::uint32_t tile, double now_ms, const step_features& decodes) const;
  void pack_prefill(std::span<const planned_sequence> sequences, const latency_model& model,
                    planner_limits& limits, double now_ms, step_plan& plan);
  slo slo_;
  std::uint32_t held_back_ = 0;
};

}  // namespace collm::coordinator
