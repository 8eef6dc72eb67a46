// Drives an executor as an engine actor would, but by a written-down schedule: chunk size, batch,
// preemptions. Tests compare what sequences say under different schedules.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/engine.hpp"

namespace collm::engine {

/// Everything that a client can see of one sequence. Floats by their bits: equal means the same
/// bytes.
struct answer {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint32_t> logprob_bits;
  std::string text;
  finish_reason finish = finish_reason::none;
  friend bool operator==(const answer&, const answer&) = default;

  void take(const emission& e) {
    tokens.push_back(e.token);
    logprob_bits.push_back(std::bit_cast<std::uint32_t>(e.logprob));
    for (const token_logprob& t : e.top) {
      logprob_bits.push_back(static_cast<std::uint32_t>(t.token));
      logprob_bits.push_back(std::bit_cast<std::uint32_t>(t.logprob));
    }
    text += e.text;
    finish = e.finish;
  }
};

inline void PrintTo(const answer& a, std::ostream* out) {
  *out << '"' << a.text << "\" finish " << static_cast<int>(a.finish) << " tokens";
  for (const std::int32_t t : a.tokens) *out << ' ' << t;
  *out << " logprob bits";
  for (const std::uint32_t b : a.logprob_bits) *out << ' ' << std::hex << b << std::dec;
}

class executor_driver {
 public:
  struct schedule {
    std::uint32_t chunk = 1u << 20;  ///< most prefill tokens of a sequence in a step
    std::uint32_t rows_max = 512;
    std::uint32_t preempt_every =
        0;  ///< preempts one running sequence each so many steps, in turn; 0: never
  };

  executor_driver(executor& steps, schedule how) : steps_(steps), how_(how) {}

  void add(sequence_spec spec) {
    const auto id = spec.id;
    const auto added = steps_.add(std::move(spec));
    ASSERT_TRUE(added) << added.failure().message;
    answers_[id];
  }

  /// Steps until nothing is left; `between` is called before each step.
  const std::map<sequence_id, answer>& run(const std::function<void(std::uint32_t)>& between = {}) {
    for (std::uint32_t step = 0; !steps_.sequences().empty(); ++step) {
      if (step == steps_max) {
        ADD_FAILURE() << "no end after " << step << " steps";
        break;
      }
      if (between) between(step);
      if (how_.preempt_every > 0 && step % how_.preempt_every == how_.preempt_every - 1)
        preempt_one();
      if (!step_once()) break;
    }
    return answers_;
  }

  const std::map<sequence_id, answer>& answers() const { return answers_; }
  std::uint32_t preemptions() const { return preemptions_; }

  bool step_once() {
    const auto work = plan();
    if (work.empty()) {
      ADD_FAILURE() << "no sequence fits the cache";
      return false;
    }
    const auto emissions = steps_.step(work);
    if (!emissions) {
      ADD_FAILURE() << emissions.failure().message;
      return false;
    }
    for (const emission& e : *emissions) answers_[e.id].take(e);
    return true;
  }

 private:
  static constexpr std::uint32_t steps_max = 5000;

  /// In order of admission; where blocks run out, the youngest sequence that holds some is
  /// preempted.
  std::vector<step_work> plan() {
    for (;;) {
      std::vector<step_work> work;
      std::uint32_t rows = 0, blocks = steps_.cache().blocks_free;
      bool first_fits = true;
      for (const sequence_view& s : steps_.sequences()) {
        const std::uint32_t tokens =
            std::min({s.length - s.computed, how_.chunk, how_.rows_max - rows});
        if (tokens == 0) break;
        const std::uint32_t needed = steps_.blocks_needed(s.id, tokens);
        if (needed > blocks) {
          first_fits = !work.empty();
          break;
        }
        blocks -= needed;
        rows += tokens;
        work.push_back({s.id, tokens});
      }
      if (first_fits || !preempt_youngest()) return work;
    }
  }

  bool preempt_youngest() {
    const auto all = steps_.sequences();
    for (std::size_t i = all.size(); i-- > 1;)
      if (all[i].blocks > 0) return steps_.preempt(all[i].id), ++preemptions_, true;
    return false;
  }

  void preempt_one() {
    const auto all = steps_.sequences();
    steps_.preempt(all[turn_++ % all.size()].id);
    ++preemptions_;
  }

  executor& steps_;
  schedule how_;
  std::map<sequence_id, answer> answers_;
  std::uint32_t turn_ = 0, preemptions_ = 0;
};

}  // namespace collm::engine
