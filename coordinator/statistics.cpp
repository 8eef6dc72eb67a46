#include "coordinator/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace collm::coordinator {

namespace {

constexpr int terms_max = 500;
constexpr double tiny = 1e-300, precise = 1e-15;

double no_zero(double v) { return std::abs(v) < tiny ? tiny : v; }

/// Lentz's evaluation of the continued fraction of the incomplete beta function.
double beta_fraction(double a, double b, double x) {
  double c = 1, d = 1 / no_zero(1 - (a + b) * x / (a + 1)), value = d;
  for (int m = 1; m < terms_max; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / no_zero(1 + even * d);
    c = no_zero(1 + even / c);
    value *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / no_zero(1 + odd * d);
    c = no_zero(1 + odd / c);
    value *= d * c;
    if (std::abs(d * c - 1) < precise) break;
  }
  return value;
}

double log_choose(double n, double k) {
  return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1);
}

}  // namespace

double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double student_cdf(double t, double freedom) {
  const double tail = incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2;
  return t < 0 ? tail : 1 - tail;
}

double student_quantile(double probability, double freedom) {
  if (probability < 0.5) return -student_quantile(1 - probability, freedom);
  const double front = std::exp(std::lgamma((freedom + 1) / 2) - std::lgamma(freedom / 2)) /
                       std::sqrt(freedom * std::numbers::pi);
  // Above 0 the distribution is concave: Newton's steps come from below and never pass the root.
  double t = 0;
  for (int i = 0; i < terms_max; ++i) {
    const double density = front * std::pow(1 + t * t / freedom, -(freedom + 1) / 2);
    const double step = (probability - student_cdf(t, freedom)) / density;
    t += step;
    if (!(std::abs(step) > 1e-14 * (1 + t))) break;
  }
  return t;
}

spread spread_of(std::span<const double> values) {
  spread s{.count = static_cast<std::uint32_t>(values.size())};
  for (double v : values) s.mean += v;
  if (s.count > 0) s.mean /= s.count;
  double squares = 0;
  for (double v : values) squares += (v - s.mean) * (v - s.mean);
  if (s.count > 1) s.deviation = std::sqrt(squares / (s.count - 1));
  return s;
}

double half_width(const spread& s, double probability) {
  return student_quantile(probability, s.count - 1.0) * s.deviation / std::sqrt(1.0 * s.count);
}

namespace {

/// No more are bad than there are; of more than 2^16 the same share of so many, as sites say what
/// they counted, and every bad one is a term of the sum.
void bound(std::uint32_t& bad, std::uint32_t& count) {
  constexpr std::uint32_t most = 1u << 16;
  bad = std::min(bad, count);
  if (count <= most) return;
  bad = static_cast<std::uint32_t>(std::round(1.0 * bad / count * most));
  count = most;
}

}  // namespace

double fisher_worse(std::uint32_t bad, std::uint32_t count, std::uint32_t bad_before,
                    std::uint32_t count_before) {
  bound(bad, count);
  bound(bad_before, count_before);
  const double all = 1.0 * count + count_before, bad_all = 1.0 * bad + bad_before;
  const double most = std::min<double>(count, bad_all);
  double p = 0;
  for (double k = bad; k <= most; ++k) {
    if (count - k > all - bad_all) continue;  // more good ones than there are
    p += std::exp(log_choose(bad_all, k) + log_choose(all - bad_all, count - k) -
                  log_choose(all, count));
  }
  return std::min(1.0, p);
}

// Less is no spread of cross entropies, and its square may be no number.
constexpr double no_spread = 1e-30;

welch welch_larger(const spread& now, const spread& before) {
  welch w;
  if (now.count < 2 || before.count < 2) return w;
  const double a = now.deviation * now.deviation / now.count;
  const double b = before.deviation * before.deviation / before.count;
  if (!(a + b > no_spread)) {
    w.p = now.mean > before.mean ? 0 : 1;
    return w;
  }
  w.t = (now.mean - before.mean) / std::sqrt(a + b);
  w.freedom = (a + b) * (a + b) / (a * a / (now.count - 1) + b * b / (before.count - 1));
  w.p = 1 - student_cdf(w.t, w.freedom);
  return w;
}

}  // namespace collm::coordinator
