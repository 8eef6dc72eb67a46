#include "engine/sample/sampler.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/kernels/kernels.hpp"
#include "engine/sample/counter_rng.hpp"
#include "messages/assert.hpp"

namespace collm::engine {
namespace {

error out_of_range(const char* name, double value, const char* range) {
  return {errc::bad_request,
          std::string(name) + " is " + std::to_string(value) + ", must be " + range};
}

// Eight partial results in a fixed pattern: vectors without leaving the order to the compiler.
constexpr std::size_t strands = 8;

double sum(std::span<const float> values) {
  std::array<double, strands> total{};
  std::size_t i = 0;
  for (; i + strands <= values.size(); i += strands)
    for (std::size_t j = 0; j < strands; ++j) total[j] += static_cast<double>(values[i + j]);
  for (; i < values.size(); ++i) total[0] += static_cast<double>(values[i]);
  return ((total[0] + total[1]) + (total[2] + total[3])) +
         ((total[4] + total[5]) + (total[6] + total[7]));
}

// NaN anywhere or +Inf: a forward pass over broken weights. -Inf alone is a probability of 0.
result<void> check_logits(std::span<const float> logits) {
  const auto at = std::ranges::find_if(
      logits, [](float x) { return !(x <= std::numeric_limits<float>::max()); });
  if (at == logits.end()) return {};
  return error{errc::internal, "logit of token " + std::to_string(at - logits.begin()) +
                                   " is not finite: the weights of this version overflow"};
}

}  // namespace

bool has_penalties(const sampling& how) {
  return how.repetition_penalty != 1.0f || how.presence_penalty != 0.0f ||
         how.frequency_penalty != 0.0f;
}

result<void> check(const sampling& how) {
  if (!(how.temperature >= 0.0f && std::isfinite(how.temperature)))
    return out_of_range("temperature", how.temperature, "0 or more");
  if (how.top_k < 0) return out_of_range("top_k", how.top_k, "0 (all) or more");
  if (!(how.top_p > 0.0f && how.top_p <= 1.0f))
    return out_of_range("top_p", how.top_p, "above 0 and at most 1");
  if (!(how.min_p >= 0.0f && how.min_p <= 1.0f))
    return out_of_range("min_p", how.min_p, "from 0 to 1");
  if (!(how.repetition_penalty > 0.0f && std::isfinite(how.repetition_penalty)))
    return out_of_range("repetition_penalty", how.repetition_penalty, "above 0");
  if (!std::isfinite(how.presence_penalty))
    return out_of_range("presence_penalty", how.presence_penalty, "finite");
  if (!std::isfinite(how.frequency_penalty))
    return out_of_range("frequency_penalty", how.frequency_penalty, "finite");
  if (how.logprobs < -1) return out_of_range("logprobs", how.logprobs, "-1 (none) or more");
  return {};
}

result<choice> sampler::choose(const logits_row& row, const sampling& how,
                               const token_history& history, std::uint64_t index) {
  COLLM_ASSERT(!row.values.empty());
  if (row.peak.suspect) {
    if (auto ok = check_logits(row.values); !ok) return ok.failure();
  }
  if (!std::isfinite(row.peak.most)) return error{errc::internal, "no token has a finite logit"};
  const auto penalised = penalise(row.values, how, history);
  const auto adjusted =
      penalised.data() == row.values.data() ? row : logits_row(penalised, peak_of(penalised));
  if (adjusted.peak.suspect && !row.peak.suspect)
    return error{errc::bad_request, "these penalties make a logit that is no number"};
  choice out;
  out.token = how.temperature == 0.0f
                  ? adjusted.peak.at
                  : draw(adjusted, how, uniform(how.seed, random_stream::sample, index));
  if (how.logprobs >= 0) fill_logprobs(row.values, row.peak.most, how.logprobs, out);
  return out;
}

std::span<const float> sampler::penalise(std::span<const float> logits, const sampling& how,
                                         const token_history& history) {
  if (history.seen().empty() || !has_penalties(how)) return logits;
  adjusted_.assign(logits.begin(), logits.end());
  for (const auto& [token, uses] : history.seen()) {
    float& logit = adjusted_[static_cast<std::size_t>(token)];
    logit = logit > 0 ? logit / how.repetition_penalty : logit * how.repetition_penalty;
    if (uses.in_answer == 0) continue;
    logit -= how.presence_penalty + how.frequency_penalty * static_cast<float>(uses.in_answer);
  }
  return adjusted_;
}

// Fills weights_ and returns their sum. The kernel's exp gives the same bytes on every instruction
// path.
double sampler::weigh(std::span<const float> logits, float temperature, float most) {
  weights_.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) weights_[i] = logits[i] / temperature - most;
  kernels().exponential(weights_.data(), static_cast<std::uint32_t>(logits.size()),
                        weights_.data());
  return sum(weights_);
}

void sampler::fill_logprobs(std::span<const float> logits, float most, std::int32_t count,
                            choice& out) {
  const double normaliser = static_cast<double>(most) + std::log(weigh(logits, 1.0f, most));
  const auto logprob = [&](float logit) { return static_cast<float>(logit - normaliser); };
  out.logprob = logprob(logits[static_cast<std::size_t>(out.token)]);
  gather_best(logits, static_cast<std::size_t>(count));
  for (const candidate& c : candidates_) out.top.push_back({c.token, logprob(c.logit)});
}

std::int32_t sampler::draw(const logits_row& row, const sampling& how, double u) {
  const auto logits = row.values;
  const float most = row.peak.most / how.temperature;
  if (!std::isfinite(most)) return row.peak.at;  // so cold that it is greedy
  const double total = weigh(logits, how.temperature, most);
  if (how.top_k == 0 && how.top_p < 1.0f) return draw_of_best(logits, how, total, u);
  if (how.top_k > 0)
    gather_best(logits, static_cast<std::size_t>(how.top_k));
  else
    gather_possible(logits);
  if (how.top_p < 1.0f) keep_top_p(how.top_p);
  std::erase_if(candidates_, [&](const candidate& c) {
    return weight_of(c) == 0 || weight_of(c) < static_cast<double>(how.min_p);
  });
  return walk(u * kept_weight(), 0);
}

/// The candidate at which the weight, `reached` before the first, passes `target`.
std::int32_t sampler::walk(double target, double reached) const {
  for (const candidate& c : candidates_)
    if ((reached += weight_of(c)) > target) return c.token;
  return candidates_.back().token;
}

void sampler::gather_best(std::span<const float> logits, std::size_t count) {
  candidates_.clear();
  count = std::min(count, logits.size());
  if (count == 0) return;
  // A heap with the worst of the best in front: nearly every token is only compared with that one.
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const candidate c{logits[i], static_cast<std::int32_t>(i)};
    if (candidates_.size() == count) {
      if (!better(c, candidates_.front())) continue;
      std::pop_heap(candidates_.begin(), candidates_.end(), better);
      candidates_.pop_back();
    }
    candidates_.push_back(c);
    std::push_heap(candidates_.begin(), candidates_.end(), better);
  }
  std::sort_heap(candidates_.begin(), candidates_.end(), better);
}

/// In order of ids; without the impossible.
void sampler::gather_possible(std::span<const float> logits) {
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (weights_[i] > 0) candidates_.push_back({logits[i], static_cast<std::int32_t>(i)});
}

// Best first, as keep_top_p and walk() have them, without sorting the vocabulary: only
// the class in which the run of the best ends and the one in which the draw falls are sorted.
std::int32_t sampler::draw_of_best(std::span<const float> logits, const sampling& how, double total,
                                   double u) {
  candidates_.reserve(logits.size());  // at once: a class's size differs from step to step
  class_weights_.assign(weight_classes, 0.0);
  for (const float w : weights_) class_weights_[class_of(w)] += static_cast<double>(w);
  // From the heaviest class down to the first, not before `end`, that passes; the weight before it.
  const auto descend = [&](std::size_t end, auto&& passes) {
    double before = 0;
    std::size_t c = weight_classes - 1;
    for (; c > end && !passes(before + class_weights_[c]); --c) before += class_weights_[c];
    return std::pair(c, before);
  };
  const double wanted = static_cast<double>(how.top_p) * total;
  const double least = static_cast<double>(how.min_p);
  auto [last, kept] = descend(class_of(how.min_p), [&](double w) { return w >= wanted; });
  gather_class(logits, last);
  std::size_t of_last = 0;
  for (; of_last < candidates_.size() && kept < wanted; ++of_last) {
    if (weight_of(candidates_[of_last]) < least) break;
    kept += weight_of(candidates_[of_last]);
  }
  candidates_.resize(of_last);
  const double target = u * kept;
  const auto [drawn, reached] = descend(last, [&](double w) { return w > target; });
  if (drawn > last) gather_class(logits, drawn);
  return walk(target, reached);
}

void sampler::gather_class(std::span<const float> logits, std::size_t weight_class) {
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (class_of(weights_[i]) == weight_class && weights_[i] > 0)
      candidates_.push_back({logits[i], static_cast<std::int32_t>(i)});
  std::ranges::sort(candidates_, better);
}

// The shortest run of best tokens whose weight reaches p of what was left by the rules before.
void sampler::keep_top_p(float p) {
  const double target = static_cast<double>(p) * kept_weight();
  double reached = 0;
  std::size_t kept = 0;
  while (kept < candidates_.size() && reached < target) reached += weight_of(candidates_[kept++]);
  candidates_.resize(std::max<std::size_t>(kept, 1));
}

double sampler::kept_weight() const {
  double total = 0;
  for (const candidate& c : candidates_) total += weight_of(c);
  return total;
}

}  // namespace collm::engine
