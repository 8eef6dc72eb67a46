// The few distributions that the gate and the canary need. Pure, in double.
#pragma once

#include <cstdint>
#include <span>

namespace collm::coordinator {

/// Regularised incomplete beta function I_x(a, b); a, b > 0, x in [0, 1]. Continued fraction
/// (Numerical Recipes 6.4).
double incomplete_beta(double a, double b, double x);

/// P(T <= t) of Student's t with `freedom` > 0 degrees of freedom, not only whole ones.
double student_cdf(double t, double freedom);
/// t with P(T <= t) = probability, in (0, 1).
double student_quantile(double probability, double freedom);

/// Mean and sample deviation (n - 1) of one series, in its order.
struct spread {
  std::uint32_t count = 0;
  double mean = 0, deviation = 0;
};
spread spread_of(std::span<const double> values);

/// Student's quantile `probability` with count - 1 degrees of freedom, times deviation /
/// sqrt(count): what a bound of the mean lies away from it. count >= 2.
double half_width(const spread& s, double probability);

/// Fisher's exact test, one-sided: probability of at least `bad` bad ones among `count`, if they
/// are no worse than `bad_before` of `count_before`.
double fisher_worse(std::uint32_t bad, std::uint32_t count, std::uint32_t bad_before,
                    std::uint32_t count_before);

/// Welch's t-test, one-sided: probability of a mean this much above `before`, if it is none.
struct welch {
  double t = 0, freedom = 0, p = 1;
};
welch welch_larger(const spread& now, const spread& before);

}  // namespace collm::coordinator
