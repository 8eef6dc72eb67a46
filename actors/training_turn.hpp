// What an engine trains between its serving steps: a queue of jobs, the units of the one in front,
// and when the next unit may run. A plain class on the engine's thread; time, the mailbox and the
// heart-beat are functions of the engine's.
//
// A kind of unit that was never measured is charged a start value of twice maxUnit. Every slot in
// which that alone held it back takes a tenth off: a steady load delays the first measurement, it
// never prevents it. A job that could not begin for five seconds begins after the next step: to
// begin takes milliseconds, and whoever asked for numbers only must not wait for slack that an
// overloaded engine never has. Units themselves have no such way round: while decodes alone exceed
// their budget nothing is trained.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <utility>

#include "actors/interfaces.hpp"
#include "coordinator/reactive_share.hpp"
#include "coordinator/step_planner.hpp"
#include "coordinator/training_credit.hpp"
#include "coordinator/training_window.hpp"
#include "coordinator/unit_times.hpp"

namespace collm::actors {

/// The engine's word for a piece of training in the planner's.
inline coordinator::unit_kind kind_of(engine::unit_kind k) {
  static_assert(coordinator::unit_kinds_count == engine::unit_kinds_count);
  return static_cast<coordinator::unit_kind>(k);
}

struct training_limits {
  coordinator::slo promises;
  double unit_max_ms = 20;     ///< the manifest's maxUnit
  std::uint32_t jobs_max = 4;  ///< waiting and running
  double idle_turn_ms = 50;    ///< then messages have their turn, whatever came
};

/// A request that ended by itself.
struct served_request {
  double ttft_ms = 0, tpot_ms = 0;
  double service_ms = 0;      ///< from its first step to its last token
  double units_ms = 0;        ///< of it: units that ran between
  double units_first_ms = 0;  ///< units that ran between its admission and its first token
  double units_token_ms = 0;  ///< of tpot_ms: units that ran between two tokens, their mean
};

/// The moment after a serving step.
struct training_moment {
  double begun_ms = 0;                                         ///< of the iteration
  double window_ms = std::numeric_limits<double>::infinity();  ///< training_window_ms
  bool idle = true;                                            ///< nothing runs or waits
};

class training_turn {
 public:
  struct surroundings {
    std::function<double()> now_ms;
    std::function<bool()> arrived;  ///< whether a message waits
    std::function<void()> alive;    ///< called after each unit: the heart-beat
  };
  using answer = std::function<void(result<engine::unit_report>)>;
  enum class ended : std::uint8_t { no_job, turn_over, yield, no_time, no_credit };

  training_turn(training_limits limits, surroundings around);

  /// Takes a job in; `done` is called once, at its end. Beyond `jobs_max`: overloaded, at once. The
  /// trainer's batch in progress is dropped before a job begins: only an engine that died left it.
  void add(training_job_ptr job, answer done);
  bool waits() const { return !jobs_.empty(); }

  /// The plan's share of time; a plan older than 30 s decays. Share 0 without a round: jobs wait.
  void grant(double share, bool in_round);
  /// s_tr of training_window_ms.
  double budget_share() const { return reactive_.budget_share(); }

  /// Runs what may run now. Says why it stopped.
  ended run(const training_moment& m);
  double units_ms() const { return figures_.unit_ms_total; }  ///< spent since start

  // -- once a slot
  void arrived() { ++arrivals_; }
  /// A promise that would have been broken without any unit as well says nothing about training:
  /// less of it would mend nothing.
  void ended_request(const served_request& r);
  void on_slot();
  /// Figures of the slot, which ends with this call.
  replica_report::training_figures take_figures();

 private:
  struct queued {
    training_job_ptr work;
    answer done;
    double since_ms = 0;
    bool begun = false;
  };
  /// What may come next: the job's beginning, or its next unit.
  struct candidate {
    std::optional<engine::training_unit> unit;
    double bound_ms = 0;
    bool measured = true;  ///< its kind was
    bool overdue = false;
  };
  candidate next_of(const queued& job);
  coordinator::unit_verdict judge(const candidate& c, const training_moment& m) const;
  ended note(coordinator::unit_verdict v, const candidate& c);
  void begin(queued& job);
  void run_unit(queued& job, const candidate& c);
  void finish(result<engine::unit_report> outcome);
  void pay(double ms);
  void advance(double now);

  const training_limits limits_;
  const surroundings around_;
  std::deque<queued> jobs_;
  coordinator::unit_times times_{{}};
  coordinator::training_credit credit_{{}};
  coordinator::reactive_share reactive_{{}};
  coordinator::felt_part felt_;
  replica_report::training_figures figures_;
  bool in_round_ = false, unknown_held_ = false;
  double unknown_ms_, begin_ms_ = 1;
  double granted_ms_ = 0, advanced_ms_ = 0, slot_ms_ = 0;
  std::uint32_t late_ = 0, done_ = 0, arrivals_ = 0;
  std::deque<std::pair<double, std::uint64_t>> trained_;  ///< tokens since start, by slot
};

}  // namespace collm::actors
