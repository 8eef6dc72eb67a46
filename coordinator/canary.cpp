#include "coordinator/admission.hpp"
#include "coordinator/gate.hpp"
#include "coordinator/statistics.hpp"

namespace collm::coordinator {

namespace {
constexpr double rate_min_per_s = 1, p_max = 0.025;

/// An operator sees how much live traffic had to say.
std::string reason_to_promote(const canary_options& o, const canary_counts& counts) {
  if (counts.count == 0) return "no request met it in time: the gate alone decides";
  std::string out = "no worse than the serving version on live traffic";
  if (counts.count < o.completions)
    out += ", though fewer answers than " + std::to_string(o.completions) + " came in time";
  return out;
}

}  // namespace

bool canary_possible(double requests_per_s) { return requests_per_s >= rate_min_per_s; }

bool canary_takes(std::uint64_t request, std::uint32_t version, double share) {
  // The version stirs the request's number: each canary meets other requests.
  return hash01(request ^ (std::uint64_t{version} * 0xd1342543de82ef95ull)) < share;
}

canary_verdict judge_canary(const canary_options& o, const canary_counts& counts,
                            const std::vector<double>& entropy,
                            const std::vector<double>& entropy_before, double elapsed_ms) {
  canary_verdict v;
  if (counts.not_finite) {
    v.decision = canary_decision::roll_back;
    v.reason = "logits are not finite";
    return v;
  }
  if (counts.count < o.completions && elapsed_ms < o.time_max_ms) return v;
  v.p_bad = fisher_worse(counts.bad, counts.count, counts.bad_before, counts.count_before);
  v.p_entropy = welch_larger(spread_of(entropy), spread_of(entropy_before)).p;
  if (!(v.p_bad >= p_max)) v.reason = "more bad answers than the serving version";
  if (!(v.p_entropy >= p_max)) v.reason = "a larger cross entropy than the serving version";
  v.decision = v.reason.empty() ? canary_decision::promote : canary_decision::roll_back;
  if (v.decision == canary_decision::promote) v.reason = reason_to_promote(o, counts);
  return v;
}

}  // namespace collm::coordinator
