#include "bench/serving_report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>

namespace collm::bench {

namespace {

using nlohmann::json;

bool is_good(const played_request& r, const goodput_slo& slo) {
  const auto holds = [](double value, double bound) { return bound <= 0 || value <= bound; };
  return r.how == outcome::answered && holds(r.ttft_ms, slo.ttft_ms) &&
         holds(r.tpot_ms, slo.tpot_ms) && holds(r.e2el_ms, slo.e2el_ms);
}

struct samples {
  std::map<std::string, std::vector<double>> by_metric;
};

samples collect(const play_result& played) {
  samples s;
  for (const char* metric : {"ttft", "tpot", "itl", "e2el"}) s.by_metric[metric];
  for (const auto& r : played.requests) {
    if (r.how != outcome::answered) continue;
    s.by_metric["ttft"].push_back(r.ttft_ms);
    if (r.output_tokens > 1) s.by_metric["tpot"].push_back(r.tpot_ms);
    for (double gap : r.itl_ms) s.by_metric["itl"].push_back(gap);
    s.by_metric["e2el"].push_back(r.e2el_ms);
  }
  return s;
}

double mean(const std::vector<double>& v) {
  return v.empty() ? 0 : std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
}

double deviation(const std::vector<double>& v) {
  if (v.empty()) return 0;
  const double m = mean(v);
  double sum = 0;
  for (double x : v) sum += (x - m) * (x - m);
  return std::sqrt(sum / static_cast<double>(v.size()));
}

std::string percent_name(double q) {
  auto name = json(q).dump();
  if (name.ends_with(".0")) name.resize(name.size() - 2);
  return "p" + name;
}

/// Tokens of the busiest second, by the answers' own times spread evenly over their decode.
double peak_tokens_per_second(const workload& what, const play_result& played) {
  std::map<std::int64_t, double> seconds;
  for (const auto& r : played.requests) {
    if (r.how != outcome::answered) continue;
    double at = static_cast<double>(what.requests[r.index].t_ms) + r.ttft_ms;
    seconds[static_cast<std::int64_t>(at / 1000)] += 1;
    for (double gap : r.itl_ms) seconds[static_cast<std::int64_t>((at += gap) / 1000)] += 1;
  }
  double most = 0;
  for (const auto& [second, tokens] : seconds) most = std::max(most, tokens);
  return most;
}

json by_site(const workload& what, const play_result& played, const goodput_slo& slo) {
  struct tally {
    double arrived = 0, answered = 0, refused = 0, failed = 0, judged = 0, right = 0, good = 0,
           good_right = 0;
  };
  std::map<std::string, tally> sites;
  for (const auto& r : played.requests) {
    auto& t = sites[what.requests[r.index].site];
    ++t.arrived;
    t.answered += r.how == outcome::answered;
    t.refused += r.how == outcome::refused;
    t.failed += r.how == outcome::failed;
    t.judged += r.judged;
    t.right += r.right;
    t.good += is_good(r, slo);
    t.good_right += is_good(r, slo) && r.right;
  }
  json out = json::object();
  for (const auto& [site, t] : sites) {
    out[site] = {{"arrived", t.arrived},
                 {"answered", t.answered},
                 {"refused", t.refused},
                 {"failed", t.failed},
                 {"attainment", t.arrived > 0 ? t.good / t.arrived : 0},
                 {"exact_match", t.judged > 0 ? t.right / t.judged : 0},
                 {"judged", t.judged},
                 {"correct_on_time", t.good_right}};
  }
  return out;
}

void line(std::string& out, const std::string& name, double value, int digits) {
  char text[96];
  std::snprintf(text, sizeof text, "%-40s %-10.*f\n", (name + ":").c_str(), digits, value);
  out += text;
}

std::string centred(const std::string& text, char fill) {
  const std::size_t width = 51, rest = width > text.size() ? width - text.size() : 0;
  return std::string(rest / 2, fill) + text + std::string(rest - rest / 2, fill) + "\n";
}

}  // namespace

double percentile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = q / 100 * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(std::floor(at));
  const auto high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - std::floor(at)) * (values[high] - values[low]);
}

json serving_report(const workload& what, const play_result& played,
                    const report_options& options) {
  double answered = 0, refused = 0, failed = 0, good = 0, good_right = 0, right = 0, judged = 0,
         input = 0, output = 0, late = 0, retries = 0;
  json errors = json::object();
  for (const auto& r : played.requests) {
    answered += r.how == outcome::answered;
    refused += r.how == outcome::refused;
    failed += r.how == outcome::failed;
    good += is_good(r, options.slo);
    good_right += is_good(r, options.slo) && r.right;
    right += r.right;
    judged += r.judged;
    input += r.prompt_tokens;
    output += r.output_tokens;
    late = std::max(late, r.sent_ms);
    retries += r.retries;
    if (!r.error.empty() && errors.size() < 16) errors[r.error] = errors.value(r.error, 0) + 1;
  }
  const double seconds = std::max(1e-9, played.seconds),
               arrived = static_cast<double>(played.requests.size());
  json report = {{"workload", json::parse(what.made, nullptr, false)},
                 {"arrived", arrived},
                 {"answered", answered},
                 {"refused", refused},
                 {"failed", failed},
                 {"errors", errors},
                 {"retries", retries},
                 {"attainment", arrived > 0 ? good / arrived : 0},
                 {"slo",
                  {{"ttft_ms", options.slo.ttft_ms},
                   {"tpot_ms", options.slo.tpot_ms},
                   {"e2el_ms", options.slo.e2el_ms}}},
                 {"exact_match", judged > 0 ? right / judged : 0},
                 {"correct_on_time_per_second", good_right / seconds},
                 {"sites", by_site(what, played, options.slo)},
                 {"duration", played.seconds},
                 {"completed", answered},
                 {"total_input_tokens", input},
                 {"total_output_tokens", output},
                 {"request_throughput", answered / seconds},
                 {"request_goodput", good / seconds},
                 {"output_throughput", output / seconds},
                 {"peak_output_throughput", peak_tokens_per_second(what, played)},
                 {"peak_concurrent_requests", played.peak_concurrent},
                 {"total_token_throughput", (input + output) / seconds},
                 {"player_cpu_share", played.own_cpu_share},
                 {"player_late_ms_max", late}};
  const auto all = collect(played);
  for (const auto& [metric, values] : all.by_metric) {
    report["mean_" + metric + "_ms"] = mean(values);
    report["median_" + metric + "_ms"] = percentile(values, 50);
    report["std_" + metric + "_ms"] = deviation(values);
    report["p99_" + metric + "_ms"] = percentile(values, 99);
    for (double q : options.percentiles)
      report[percent_name(q) + "_" + metric + "_ms"] = percentile(values, q);
  }
  return report;
}

std::string report_block(const json& report, const report_options& options) {
  std::string out = centred(" Serving Benchmark Result ", '=');
  const auto value = [&](const std::string& key) { return report.value(key, 0.0); };
  line(out, "Successful requests", value("answered"), 0);
  line(out, "Failed requests", value("failed"), 0);
  line(out, "Refused requests", value("refused"), 0);
  line(out, "Benchmark duration (s)", value("duration"), 2);
  line(out, "Total input tokens", value("total_input_tokens"), 0);
  line(out, "Total generated tokens", value("total_output_tokens"), 0);
  line(out, "Request throughput (req/s)", value("request_throughput"), 2);
  line(out, "Request goodput (req/s)", value("request_goodput"), 2);
  line(out, "Output token throughput (tok/s)", value("output_throughput"), 2);
  line(out, "Peak output token throughput (tok/s)", value("peak_output_throughput"), 2);
  line(out, "Peak concurrent requests", value("peak_concurrent_requests"), 0);
  line(out, "Total token throughput (tok/s)", value("total_token_throughput"), 2);
  const std::map<std::string, std::string> titles = {
      {"ttft", "Time to First Token"},
      {"tpot", "Time per Output Token (excl. 1st token)"},
      {"itl", "Inter-token Latency"},
      {"e2el", "End-to-end Latency"}};
  for (const auto& metric : options.metrics) {
    std::string upper = metric;
    std::transform(upper.begin(), upper.end(), upper.begin(), ::toupper);
    const auto title = titles.find(metric);
    out += centred(title == titles.end() ? metric : title->second, '-');
    line(out, "Mean " + upper + " (ms)", value("mean_" + metric + "_ms"), 2);
    line(out, "Median " + upper + " (ms)", value("median_" + metric + "_ms"), 2);
    for (double q : options.percentiles) {
      if (q == 50) continue;
      auto name = percent_name(q);
      name[0] = 'P';
      line(out, name + " " + upper + " (ms)", value(percent_name(q) + "_" + metric + "_ms"), 2);
    }
  }
  out += centred("CoLLM", '-');
  line(out, "SLO attainment (%)", 100 * value("attainment"), 1);
  line(out, "Correct on time (answers/s)", value("correct_on_time_per_second"), 3);
  const json sites = report.value("sites", json::object());
  for (const auto& [site, s] : sites.items()) {
    if (s.value("judged", 0.0) == 0) continue;
    line(out, "Exact match " + (site.empty() ? std::string("(all)") : site) + " (%)",
         100 * s.value("exact_match", 0.0), 1);
  }
  line(out, "Player's CPU (% of one core)", 100 * value("player_cpu_share"), 1);
  return out + centred("", '=');
}

}  // namespace collm::bench
