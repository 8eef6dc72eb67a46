// Virtual time, seeded chance and processes for a simulated cluster: whose turn it is among actors
// with a message, how long a byte travels and who dies when follow from one seed. Every turn is
// noted, hashed and checked.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "messages/events.capnp.h"
#include "tests/support/virtual_system.hpp"

namespace collm::simulation {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using instant = std::chrono::steady_clock::time_point;

/// What an actor does once, in a turn of its own.
struct task {
  std::shared_ptr<const std::function<void()>> run;
};
/// The same with the actor that does it.
struct errand {
  std::shared_ptr<const std::function<void(caf::event_based_actor*)>> run;
};

}  // namespace collm::simulation

namespace collm {
template <>
struct local_message<simulation::task> : std::true_type {};
template <>
struct local_message<simulation::errand> : std::true_type {};
}  // namespace collm

namespace collm::simulation {

inline task task_of(std::function<void()> f) {
  return {std::make_shared<const std::function<void()>>(std::move(f))};
}

/// A law of the system that a run broke.
class law_broken : public std::runtime_error {
 public:
  law_broken(const std::string& law, const std::string& how)
      : std::runtime_error("law \"" + law + "\": " + how), law_(law) {}
  const std::string& law() const { return law_; }

 private:
  std::string law_;
};

/// What a test breaks on purpose, in the rig and not in the product, to see the law that notices.
enum class sabotage {
  none,
  double_chunk,
  lost_finish,
  double_finish,
  foreign_token,
  kept_pin,
  kept_sequence,
  long_queue,
  stray_message,
  reused_number,
  two_serving,
  forgetful_journal,
  double_update,
  other_sum
};

class world;

/// Actors that live and die together, as those of one operating system process do.
class process {
 public:
  process(world& in, std::string name) : name(std::move(name)), in_(in) {}
  process(const process&) = delete;

  template <class Behavior, class... Args>
  auto spawn(Behavior behavior, Args&&... args);
  template <class Handle>
  Handle own(Handle actor);

  /// Something for it came in: done at once, or, while it is stopped, when it goes on.
  void arrive(std::function<void()> f);
  void stop() { stopped_ = alive; }  ///< SIGSTOP: its actors get no turn
  void go_on();

  const std::string name;
  bool alive = true;

 private:
  friend class world;
  world& in_;
  std::vector<caf::actor> actors_;
  bool stopped_ = false;
  std::deque<std::function<void()>> came_in_;
};
using process_ptr = std::shared_ptr<process>;

class world final : private testing_support::conductor {
 public:
  explicit world(std::uint64_t seed, sabotage broken = sabotage::none);
  ~world() override;

  // -- chance
  /// 0 to n - 1.
  std::uint64_t draw(std::uint64_t n) { return n < 2 ? 0 : chance_() % n; }
  microseconds draw(microseconds from, microseconds to) {
    return from + microseconds(draw(static_cast<std::uint64_t>((to - from).count()) + 1));
  }
  /// True, once, at the first place where the test breaks this.
  bool breaks(sabotage what);
  /// The same, and from then on always.
  bool lies(sabotage what) { return breaks(what) || (breaks_ == what && was_broken_); }
  bool broken() const { return was_broken_; }

  // -- time
  instant now() const { return system.now(); }
  double now_ms() const {
    return std::chrono::duration<double, std::milli>(now().time_since_epoch()).count();
  }
  /// Done in no process: on the wire, by the kernel, by people.
  void later(std::chrono::nanoseconds after, std::function<void()> f);
  void pass(milliseconds time) { system.pass(time); }

  // -- processes
  process_ptr start(std::string name) { return std::make_shared<process>(*this, std::move(name)); }
  /// kill -9: nothing that its actors still say leaves it. Never in a turn of its own actors.
  void kill(process& p);
  /// Nothing that travels arrives any more: what it would touch may be gone.
  void end() { *over_ = true; }

  // -- laws
  /// The first breach ends the run, after the present turn.
  void breach(const std::string& law, const std::string& how);
  void demand(bool holds, const char* law, const std::function<std::string()>& how) {
    if (!holds) breach(law, how());
  }
  /// Called after each turn with its process; null: it was in none.
  std::function<void(process*)> after_turn;

  // -- what happened
  void note(std::string text);
  /// What an actor told its telemetry; no part of the hash, for it may name figures of the machine.
  void hear(const schema::Event::Reader& e);
  std::uint64_t hash() const { return hash_; }
  std::uint64_t turns() const { return turns_; }
  std::string last_events(std::size_t count) const;
  std::string last_notes(std::size_t count) const;

  testing_support::virtual_system system;

 private:
  friend class process;
  struct turn {
    double at_ms = 0;
    const char* actor = nullptr;  ///< names are literals
    std::string where = {};
    std::array<const std::type_info*, 3> types = {};
    caf::atom_value verb = {};
    std::string text = {};  ///< a note instead of a message
  };
  std::optional<std::size_t> next(const std::deque<caf::resumable*>& ready) override;
  void before(caf::scheduled_actor& actor) override;
  void after() override;
  process* owner_of(caf::actor_id id) const;
  void mix(std::uint64_t x) { hash_ = (hash_ ^ x) * 1099511628211ull; }
  static void keep(std::deque<turn>& in, turn t);
  static std::string text_of(const std::deque<turn>& turns, std::size_t count);
  static std::string text_of(const turn& t);

  std::mt19937_64 chance_;
  sabotage breaks_;
  bool was_broken_ = false;
  std::map<caf::actor_id, process*> owners_;
  process* current_ = nullptr;
  std::shared_ptr<bool> over_ = std::make_shared<bool>(false);
  caf::actor wire_;
  std::uint64_t hash_ = 1469598103934665603ull, turns_ = 0;
  std::deque<turn> last_, notes_;
  std::optional<law_broken> breach_;
};

template <class Behavior, class... Args>
auto process::spawn(Behavior behavior, Args&&... args) {
  return own(in_.system.get().spawn(behavior, std::forward<Args>(args)...));
}

template <class Handle>
Handle process::own(Handle actor) {
  in_.owners_[actor.id()] = this;
  actors_.push_back(caf::actor_cast<caf::actor>(actor));
  return actor;
}

/// A living actor's state, for checkers; null: it has ended.
template <class State, class Handle>
const State* state_of(const Handle& actor) {
  auto* a = caf::actor_cast<caf::abstract_actor*>(actor);
  constexpr int over = caf::abstract_actor::is_terminated_flag |
                       caf::abstract_actor::is_cleaned_up_flag |
                       caf::abstract_actor::is_shutting_down_flag;
  if (a == nullptr || a->getf(over)) return nullptr;
  return &static_cast<caf::stateful_actor<State, typename Handle::base>*>(a)->state;
}

}  // namespace collm::simulation
