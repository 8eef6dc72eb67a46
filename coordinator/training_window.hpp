// What an engine may still do in an iteration after its serving step: training units while the
// slack lasts. Pure. Which unit comes next is the shadow's order, never chosen here: load changes
// when training happens, not its bytes.
#pragma once

#include <limits>
#include <span>

#include "coordinator/latency_model.hpp"
#include "coordinator/step_planner.hpp"

namespace collm::coordinator {

/// need_j, ms: the smallest time that a waiting request, still on time, can wait beyond `now_ms`
/// (the iteration's start, as given to plan()) before the rest of its prefill, and of those before
/// it, must begin. A request that is late by this prediction throttles nobody. Infinity: none
/// waits.
double smallest_need_ms(std::span<const planned_sequence> sequences, const step_plan& plan,
                        const latency_model& model, slo promises, double now_ms);

/// The iteration that a window is asked for.
struct iteration_moment {
  double begun_ms = 0;      ///< as given to plan()
  double step_ms = 0;       ///< what its step took
  double budget_share = 1;  ///< s_tr of reactive_share
};

/// T_tr, ms from the iteration's start: until when units may run. min(budget_share * T_bud,
/// 0.9 * need), and one tpot where a sequence decodes: units never hold its next token up for
/// longer, lost or not. Whom the step gave its first token gets the second one within a tpot as
/// well: units end a step of all decodes before that. Infinity with nothing running or waiting; 0
/// when the decodes alone exceed the budget.
double training_window_ms(std::span<const planned_sequence> sequences, const step_plan& plan,
                          const latency_model& model, slo promises, const iteration_moment& m);

/// The moment between two units.
struct unit_moment {
  double elapsed_ms = 0;     ///< since the iteration's start, measured
  double unit_bound_ms = 0;  ///< t_up of the next unit
  double window_ms = 0;      ///< training_window_ms
  bool credit = false;       ///< training_credit::may_start of it
  bool arrived = false;      ///< a request came since the step was packed
};

enum class unit_verdict : std::uint8_t {
  run,
  yield,      ///< a request arrived: the iteration ends, the next step packs it
  no_time,    ///< the slack ends before the unit would
  no_credit,  ///< the share of training is used up
};

/// Whether the next unit may start now.
unit_verdict judge_unit(const unit_moment& m);

}  // namespace collm::coordinator
