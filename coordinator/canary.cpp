#include <algorithm>

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

/// A one-sided test of all, of each site alone and of all but each: the least p, and whose it is;
/// empty: of all. A p of a part that is no number says nothing, one of all fails.
class parted_test {
 public:
  parted_test(double p_of_all, std::size_t sites)
      : p_(p_of_all), of_the_others_(sites > 2), tests_(static_cast<double>(sites)) {
    if (of_the_others_) tests_ *= 2;
  }
  void add(const std::string& site, double p, double p_of_the_others) {
    add("site " + site, p);
    if (of_the_others_) add("all sites but " + site, p_of_the_others);
  }
  double p() const { return p_; }
  bool fails() const { return !(p_ >= p_max); }
  std::string whose() const { return whose_.empty() ? "" : " of " + whose_; }

 private:
  void add(const std::string& whose, double p) {
    if (!(p * tests_ < p_)) return;
    p_ = p * tests_;
    whose_ = whose;
  }
  double p_;
  bool of_the_others_;  ///< of two, the others are the other one
  double tests_;
  std::string whose_;
};

double p_of(const canary_counts& c) {
  return fisher_worse(c.bad, c.count, c.bad_before, c.count_before);
}

canary_counts without(const canary_counts& all, const canary_counts& part) {
  const auto less = [](std::uint32_t a, std::uint32_t b) { return a - std::min(a, b); };
  return {.bad = less(all.bad, part.bad),
          .count = less(all.count, part.count),
          .bad_before = less(all.bad_before, part.bad_before),
          .count_before = less(all.count_before, part.count_before)};
}

parted_test test_answers(const canary_traffic& traffic) {
  parted_test test(p_of(traffic.all), traffic.by_site.size());
  for (const auto& [site, counts] : traffic.by_site)
    test.add(site, p_of(counts), p_of(without(traffic.all, counts)));
  return test;
}

double p_of(const reference_entropies& e) {
  return welch_larger(spread_of(e.canary), spread_of(e.serving)).p;
}

/// `but`: a site that is left out; empty: none.
reference_entropies pooled(const std::map<std::string, reference_entropies>& by_site,
                           const std::string& but) {
  reference_entropies all;
  for (const auto& [site, e] : by_site) {
    if (site == but) continue;
    all.canary.insert(all.canary.end(), e.canary.begin(), e.canary.end());
    all.serving.insert(all.serving.end(), e.serving.begin(), e.serving.end());
  }
  return all;
}

parted_test test_entropies(const std::map<std::string, reference_entropies>& by_site) {
  parted_test test(p_of(pooled(by_site, "")), by_site.size());
  for (const auto& [site, e] : by_site) test.add(site, p_of(e), p_of(pooled(by_site, site)));
  return test;
}

}  // namespace

bool canary_possible(double requests_per_s) { return requests_per_s >= rate_min_per_s; }

bool canary_takes(std::uint64_t request, std::uint32_t version, double share) {
  // The version stirs the request's number: each canary meets other requests.
  return hash01(request ^ (std::uint64_t{version} * 0xd1342543de82ef95ull)) < share;
}

canary_verdict judge_canary(const canary_options& o, const canary_traffic& traffic,
                            const std::map<std::string, reference_entropies>& by_site,
                            double elapsed_ms) {
  canary_verdict v;
  const auto& counts = traffic.all;
  if (counts.not_finite) {
    v.decision = canary_decision::roll_back;
    v.reason = "logits are not finite";
    return v;
  }
  if (counts.count < o.completions && elapsed_ms < o.time_max_ms) return v;
  const auto answers = test_answers(traffic);
  const auto entropies = test_entropies(by_site);
  v.p_bad = answers.p();
  v.p_entropy = entropies.p();
  if (answers.fails())
    v.reason = "more bad answers" + answers.whose() + " than the serving version";
  if (entropies.fails())
    v.reason = "a larger cross entropy" + entropies.whose() + " than the serving version";
  v.decision = v.reason.empty() ? canary_decision::promote : canary_decision::roll_back;
  if (v.decision == canary_decision::promote) v.reason = reason_to_promote(o, counts);
  return v;
}

}  // namespace collm::coordinator
