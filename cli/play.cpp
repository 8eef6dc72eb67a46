#include "cli/play.hpp"

#include "bench/player.hpp"
#include "bench/serving_report.hpp"

namespace collm::cli {

result<played> play(const bench::workload& what, const json& status, const cluster_flags& as,
                    const std::function<bool()>& over) {
  bench::play_options options;
  options.key = as.key;
  options.ca = as.ca;
  options.over = over;
  for (const auto& g : site_gateways(status)) {
    if (g.state != "serving") continue;
    if (auto may = may_hear_the_key(as, g); !may) return may.failure();
    options.gateways.emplace(g.site, g.url);
  }
  auto done = bench::play(what, options);
  if (!done) return done.failure();
  bench::report_options how;
  how.slo = {number(status, "sloTtftMs"), number(status, "sloTpotMs"), 0};
  played out;
  out.report = bench::serving_report(what, *done, how);
  out.text = bench::report_block(out.report, how);
  return out;
}

}  // namespace collm::cli
