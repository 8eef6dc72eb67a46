#include "coordinator/unit_times.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace collm::coordinator {

namespace {

constexpr auto& columns = unit_times::columns;
constexpr std::array kinds = {unit_kind::layer_forward, unit_kind::layer_backward,
                              unit_kind::loss_head, unit_kind::optimizer_step};

std::uint32_t tokens_of(unit_kind kind, unit_sizes sizes) {
  if (kind == unit_kind::optimizer_step) return 0;
  return kind == unit_kind::loss_head ? sizes.head_tokens : sizes.window_tokens;
}

/// Where `tokens` lies between two columns: left one, right one, share of the right one.
struct place {
  std::size_t left = 0, right = 0;
  double share = 0;
};

place place_of(std::uint32_t tokens) {
  if (tokens <= columns.front()) return {};
  if (tokens >= columns.back()) return {columns.size() - 1, columns.size() - 1, 0};
  std::size_t right = 1;
  while (columns[right] < tokens) ++right;
  const double from = columns[right - 1], to = columns[right];
  return {right - 1, right, (tokens - from) / (to - from)};
}

/// Times beyond the last column are told as if they were of it.
double to_table(std::uint32_t tokens) {
  return tokens > columns.back() ? static_cast<double>(tokens) / columns.back() : 1;
}

std::string rounded(double ms) {
  auto text = std::to_string(std::round(ms * 10) / 10);
  return text.substr(0, text.find('.') + 2);
}

}  // namespace

std::uint32_t half_rows(std::uint32_t rows, std::uint32_t step) {
  return std::max(rows / 2 / step * step, step);
}

std::string_view to_string(unit_kind k) {
  constexpr std::string_view names[] = {"layer_forward", "layer_backward", "loss_head",
                                        "optimizer_step"};
  return names[static_cast<std::size_t>(k)];
}

bool unit_times::begin_row(const measured_unit& unit) {
  auto& t = table_[index(unit.kind)];
  auto& reached = reached_[index(unit.kind)];
  const auto at = place_of(unit.tokens);
  if (reached > at.right) return false;
  const double ms = unit.ms / to_table(unit.tokens);
  const double tokens = std::clamp(unit.tokens, window_step, columns.back());
  for (std::size_t i = reached; i < columns.size(); ++i) {
    // Above the left neighbour: what was measured there stands already.
    const double least = i > 0 && reached > 0 ? t[i - 1] : 0;
    t[i] = std::max(least, columns[i] <= tokens ? ms : ms * columns[i] / tokens);
  }
  reached = static_cast<std::uint32_t>(at.right) + 1;
  return true;
}

bool unit_times::observe(const measured_unit& unit) {
  if (!std::isfinite(unit.ms) || unit.ms <= 0) return false;
  if (begin_row(unit)) return true;
  auto& t = table_[index(unit.kind)];
  const double predicted = mean_ms(unit.kind, unit.tokens);
  auto& margin = margins_[index(unit.kind)];
  const double error = (unit.ms - predicted) / predicted;
  margin += options_.margin_gain * ((error > margin ? 1 : 0) - options_.margin_target);

  const auto at = place_of(unit.tokens);
  const double rest = 1 - at.share, norm = rest * rest + at.share * at.share;
  const double step = options_.gain * (unit.ms - predicted) / to_table(unit.tokens) / norm;
  t[at.left] += rest * step;
  t[at.right] += at.share * step;
  keep_rising(t, at.left, at.right);
  return true;
}

/// More tokens never take less time: the columns just changed win over their neighbours.
void unit_times::keep_rising(row& t, std::size_t left, std::size_t right) {
  if (t[left] > t[right]) t[left] = t[right] = (t[left] + t[right]) / 2;
  for (std::size_t i = left; i-- > 0;) t[i] = std::min(t[i], t[i + 1]);
  for (std::size_t i = right + 1; i < t.size(); ++i) t[i] = std::max(t[i], t[i - 1]);
}

double unit_times::mean_ms(unit_kind kind, std::uint32_t tokens) const {
  const auto& t = table_[index(kind)];
  const auto at = place_of(tokens);
  return ((1 - at.share) * t[at.left] + at.share * t[at.right]) * to_table(tokens);
}

double unit_times::bound_ms(unit_kind kind, std::uint32_t tokens) const {
  if (!known(kind)) return std::numeric_limits<double>::infinity();
  return mean_ms(kind, tokens) * (1 + std::max(0.0, margins_[index(kind)]));
}

double unit_times::longest_ms(unit_sizes sizes) const {
  double longest = 0;
  for (auto kind : kinds) longest = std::max(longest, bound_ms(kind, tokens_of(kind, sizes)));
  return longest;
}

result<unit_sizes> unit_times::sizes_for(double unit_max_ms, unit_sizes most) const {
  const auto fits = [&](unit_kind kind, unit_sizes sizes) {
    return bound_ms(kind, tokens_of(kind, sizes)) <= unit_max_ms;
  };
  auto sizes = most;
  while (sizes.window_tokens > window_step &&
         !(fits(unit_kind::layer_forward, sizes) && fits(unit_kind::layer_backward, sizes)))
    sizes.window_tokens = half_rows(sizes.window_tokens, window_step);
  while (sizes.head_tokens > head_step && !fits(unit_kind::loss_head, sizes))
    sizes.head_tokens = half_rows(sizes.head_tokens, head_step);
  for (auto kind : kinds)
    if (!fits(kind, sizes)) return too_long(kind, tokens_of(kind, sizes), unit_max_ms);
  return sizes;
}

error unit_times::too_long(unit_kind kind, std::uint32_t tokens, double unit_max_ms) const {
  const std::string name(to_string(kind));
  if (!known(kind)) return {errc::conflict, "training unit " + name + " was not measured yet"};
  return {errc::conflict,
          "training unit " + name + " of " + std::to_string(tokens) + " tokens takes " +
              rounded(bound_ms(kind, tokens)) + " ms here, maxUnit is " + rounded(unit_max_ms) +
              " ms: a larger maxUnit, a smaller rank or more threads would be right"};
}

}  // namespace collm::coordinator
