// From one row of logits to one token: penalties, temperature, top-k, top-p, min-p, draw. Every sum
// runs in one fixed order, so the same logits give the same bytes. Owner: one engine thread (the
// scratch memory is reused from call to call).
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/executor.hpp"
#include "engine/sample/logit_peak.hpp"

namespace collm::engine {

/// What a sequence has said so far, as the penalties need it. Empty and never filled when no
/// penalty is on.
class token_history {
 public:
  struct uses {
    bool in_prompt = false;
    std::uint32_t in_answer = 0;
  };
  void add_prompt(std::int32_t token) { seen_[token].in_prompt = true; }
  void add_answer(std::int32_t token) { ++seen_[token].in_answer; }
  const std::unordered_map<std::int32_t, uses>& seen() const { return seen_; }

 private:
  std::unordered_map<std::int32_t, uses> seen_;
};

bool has_penalties(const sampling& how);

/// Whether the largest logit says all that is asked for.
inline bool is_plain_greedy(const sampling& how) {
  return how.temperature == 0.0f && how.logprobs < 0 && !has_penalties(how);
}

/// Refuses, by name, a value outside its range.
result<void> check(const sampling& how);

struct choice {
  std::int32_t token = 0;
  float logprob = 0;  ///< of the raw softmax; valid if how.logprobs >= 0
  std::vector<token_logprob>
      top;  ///< how.logprobs most likely tokens, best first; ties: smaller id first
};

/// One row of logits, [vocabulary], and what is known of it.
struct logits_row {
  logits_row(std::span<const float> v) : logits_row(v, peak_of(v)) {}
  logits_row(const std::vector<float>& v) : logits_row(std::span(v)) {}
  logits_row(std::span<const float> v, const logit_peak& p) : values(v), peak(p) {}
  std::span<const float> values;
  logit_peak peak;
};

class sampler {
 public:
  /// `index`: how many tokens the sequence has produced; selects the random number. Fails
  /// (internal) on a NaN or +Inf logit.
  result<choice> choose(const logits_row& row, const sampling& how, const token_history& history,
                        std::uint64_t index);
  /// Of the scratch memory; at most 24 a token of the vocabulary and 32 KiB.
  std::uint64_t bytes() const {
    return (adjusted_.capacity() + weights_.capacity()) * sizeof(float) +
           candidates_.capacity() * sizeof(candidate) + class_weights_.capacity() * sizeof(double);
  }

 private:
  struct candidate {
    float logit;
    std::int32_t token;
  };
  static bool better(const candidate& a, const candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  }
  std::span<const float> penalise(std::span<const float> logits, const sampling& how,
                                  const token_history& history);
  void fill_logprobs(std::span<const float> logits, float most, std::int32_t count, choice& out);
  std::int32_t draw(const logits_row& row, const sampling& how, double u);
  std::int32_t draw_of_best(std::span<const float> logits, const sampling& how, double total,
                            double u);
  double weigh(std::span<const float> logits, float temperature, float most);
  void gather_best(std::span<const float> logits, std::size_t count);
  std::int32_t walk(double target, double reached) const;
  void gather_possible(std::span<const float> logits);
  void gather_class(std::span<const float> logits, std::size_t weight_class);
  void keep_top_p(float p);
  double kept_weight() const;
  double weight_of(const candidate& c) const {
    return static_cast<double>(weights_[static_cast<std::size_t>(c.token)]);
  }

  // Weights in (0, 1] that share exponent and five bits of mantissa: a class holds those within 3
  // %.
  static std::size_t class_of(float weight) {
    return std::bit_cast<std::uint32_t>(weight + 0.0f) >> 18;  // -0 is 0
  }
  static constexpr std::size_t weight_classes = (0x3f800000u >> 18) + 1;

  std::vector<double> class_weights_;  ///< sums, by class
  std::vector<float> adjusted_;        ///< logits after penalties
  std::vector<float> weights_;         ///< exp(logit / temperature - largest), by token
  std::vector<candidate> candidates_;  ///< what the filters kept, best first
};

}  // namespace collm::engine
