#include "engine/train/batch.hpp"

#include <algorithm>

namespace collm::engine {
namespace {

std::string fault_of(const training_sample& s, const model_shape& shape, std::uint32_t most) {
  const std::size_t n = s.tokens.size();
  if (n < 2) return "has " + std::to_string(n) + " tokens, must have two or more";
  if (n > most) return "has " + std::to_string(n) + " tokens, the most is " + std::to_string(most);
  if (s.prompt_tokens < 1 || s.prompt_tokens >= n)
    return "has a prompt of " + std::to_string(s.prompt_tokens) + " of its " + std::to_string(n) +
           " tokens, which must leave one on either side";
  for (const auto t : s.tokens)
    if (t < 0 || static_cast<std::uint32_t>(t) >= shape.vocab)
      return "has token " + std::to_string(t) + ", which is not of this vocabulary";
  return {};
}

training_pass pass_of(std::span<const training_sample> samples, std::uint32_t first,
                      std::uint32_t last) {
  training_pass pass;
  for (std::uint32_t i = first; i < last; ++i) {
    const auto& s = samples[i];
    const auto count = static_cast<std::uint32_t>(s.tokens.size()) - 1;
    pass.samples.push_back({i, static_cast<std::uint32_t>(pass.rows.size()), count});
    for (std::uint32_t p = 0; p < count; ++p)
      pass.rows.push_back({s.tokens[p], p + 1 < s.prompt_tokens ? no_target : s.tokens[p + 1], p});
  }
  return pass;
}

void cut_windows(training_pass& pass, std::uint32_t window_tokens) {
  const auto rows = static_cast<std::uint32_t>(pass.rows.size());
  for (std::uint32_t first = 0; first < rows; first += window_tokens) {
    row_window w{first, std::min(window_tokens, rows - first), 0};
    for (std::uint32_t r = first; r < first + w.count; ++r)
      if (pass.rows[r].target != no_target) ++w.losses;
    pass.windows.push_back(w);
  }
}

}  // namespace

result<void> check_samples(std::span<const training_sample> samples, const model_shape& shape,
                           const training_options& options, std::uint32_t batch_tokens) {
  if (samples.empty()) return error{errc::bad_request, "a batch needs at least one sample"};
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto fault = fault_of(samples[i], shape, std::min(options.sample_tokens, shape.context));
    if (!fault.empty())
      return error{errc::bad_request, "sample " + std::to_string(i) + " " + fault};
    tokens += samples[i].tokens.size();
  }
  if (batch_tokens != 0 && tokens > batch_tokens)
    return error{errc::bad_request, "a batch of " + std::to_string(tokens) +
                                        " tokens is too large, the most is " +
                                        std::to_string(batch_tokens)};
  return {};
}

std::vector<training_pass> pack_samples(std::span<const training_sample> samples,
                                        std::uint32_t window_tokens) {
  std::vector<training_pass> passes;
  std::uint32_t first = 0, rows = 0;
  const auto count = static_cast<std::uint32_t>(samples.size());
  for (std::uint32_t i = 0; i <= count; ++i) {
    const auto more = i < count ? static_cast<std::uint32_t>(samples[i].tokens.size()) - 1 : 0;
    if (i > first && (i == count || rows + more > window_tokens)) {
      passes.push_back(pass_of(samples, first, i));
      cut_windows(passes.back(), window_tokens);
      first = i;
      rows = 0;
    }
    rows += more;
  }
  return passes;
}

}  // namespace collm::engine
