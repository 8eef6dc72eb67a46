#include "engine/sample/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/sample/counter_rng.hpp"
#include "messages/assert.hpp"

namespace collm::engine {
namespace {

error out_of_range(const char* name, double value, const char* range) {
  return {errc::bad_request,
          std::string(name) + " is " + std::to_string(value) + ", must be " + range};
}

float largest(std::span<const float> values) {
  return *std::max_element(values.begin(), values.end());
}

std::int32_t first_of_largest(std::span<const float> values) {
  return static_cast<std::int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

// NaN anywhere or +Inf: a forward pass over broken weights. -Inf alone is a probability of 0.
result<void> check_logits(std::span<const float> logits) {
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (!(logits[i] <= std::numeric_limits<float>::max()))
      return error{errc::internal, "logit of token " + std::to_string(i) +
                                       " is not finite: the weights of this version overflow"};
  if (largest(logits) == -std::numeric_limits<float>::infinity())
    return error{errc::internal, "no token has a finite logit"};
  return {};
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

result<choice> sampler::choose(std::span<const float> logits, const sampling& how,
                               const token_history& history, std::uint64_t index) {
  COLLM_ASSERT(!logits.empty());
  if (auto ok = check_logits(logits); !ok) return ok.failure();
  weigh(logits, how, history);
  choice out;
  out.token = how.temperature == 0.0f ? first_of_largest(adjusted_) : draw(how, index);
  if (how.logprobs >= 0) fill_logprobs(logits, how.logprobs, out);
  return out;
}

void sampler::weigh(std::span<const float> logits, const sampling& how,
                    const token_history& history) {
  adjusted_.assign(logits.begin(), logits.end());
  for (const auto& [token, uses] : history.seen()) {
    float& logit = adjusted_[static_cast<std::size_t>(token)];
    logit = logit > 0 ? logit / how.repetition_penalty : logit * how.repetition_penalty;
    if (uses.in_answer == 0) continue;
    logit -= how.presence_penalty + how.frequency_penalty * static_cast<float>(uses.in_answer);
  }
}

// log softmax in double over float exponentials, summed in order of ids.
void sampler::fill_logprobs(std::span<const float> logits, std::int32_t count, choice& out) {
  const float most = largest(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - most);
  const double normaliser = static_cast<double>(most) + std::log(sum);
  const auto logprob = [&](float logit) { return static_cast<float>(logit - normaliser); };
  out.logprob = logprob(logits[static_cast<std::size_t>(out.token)]);
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    candidates_.push_back({logits[i], static_cast<std::int32_t>(i)});
  ordered_ = 0;
  order_first(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < ordered_; ++i)
    out.top.push_back({candidates_[i].token, logprob(candidates_[i].logit)});
}

std::int32_t sampler::draw(const sampling& how, std::uint64_t index) {
  candidates_.clear();
  best_ = largest(adjusted_) / how.temperature;
  for (std::size_t i = 0; i < adjusted_.size(); ++i)
    candidates_.push_back({adjusted_[i] / how.temperature, static_cast<std::int32_t>(i)});
  ordered_ = 0;
  if (!std::isfinite(best_))
    return first_of_largest(adjusted_);  // a temperature so small that it is greedy
  if (how.top_k > 0) keep_top_k(static_cast<std::uint32_t>(how.top_k));
  if (how.top_p < 1.0f) keep_top_p(how.top_p);
  if (how.min_p > 0.0f) keep_min_p(how.min_p);
  const double target = uniform(how.seed, random_stream::sample, index) * total_weight();
  double reached = 0;
  std::int32_t last = candidates_.front().token;
  for (const candidate& c : candidates_) {
    const double weight = std::exp(c.logit - best_);
    if (weight == 0) continue;
    last = c.token;
    reached += weight;
    if (reached > target) break;
  }
  return last;
}

void sampler::keep_top_k(std::uint32_t k) {
  if (k >= candidates_.size()) return;
  order_first(k);
  candidates_.resize(k);
}

// The shortest run of best tokens whose weight reaches p of the total. Grows the ordered front by
// powers of four, since a whole vocabulary takes milliseconds to sort and the front is nearly
// always short.
void sampler::keep_top_p(float p) {
  const double target = static_cast<double>(p) * total_weight();
  double reached = 0;
  for (std::size_t kept = 0; kept < candidates_.size();) {
    if (kept == ordered_) order_first(std::max<std::size_t>(64, ordered_ * 4));
    reached += std::exp(candidates_[kept++].logit - best_);
    if (reached >= target) candidates_.resize(kept);
  }
  ordered_ = std::min(ordered_, candidates_.size());
}

void sampler::keep_min_p(float p) {
  const double least = static_cast<double>(p);
  std::erase_if(candidates_, [&](const candidate& c) { return std::exp(c.logit - best_) < least; });
  ordered_ = 0;
}

double sampler::total_weight() const {
  double total = 0;
  for (const candidate& c : candidates_) total += std::exp(c.logit - best_);
  return total;
}

// The front is already the best of all, so only what lies behind it is searched.
void sampler::order_first(std::size_t count) {
  count = std::min(count, candidates_.size());
  if (count <= ordered_) return;
  const auto at = [&](std::size_t i) {
    return candidates_.begin() + static_cast<std::ptrdiff_t>(i);
  };
  std::partial_sort(at(ordered_), at(count), candidates_.end(), better);
  ordered_ = count;
}

}  // namespace collm::engine
