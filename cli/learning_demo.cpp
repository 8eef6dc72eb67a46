#include "cli/learning_demo.hpp"

#include <cstdio>
#include <future>
#include <map>
#include <ostream>
#include <set>
#include <thread>

#include "bench/player.hpp"
#include "bench/serving_report.hpp"
#include "bench/workload_maker.hpp"

namespace collm::cli {
namespace {

constexpr std::uint64_t report_seed = 11;
constexpr double questions_per_s = 6;  // both sites together: some are answered beside each other
constexpr auto look_again = std::chrono::seconds(1);

/// Percent of answers equal to the reference, by site.
using right_share = std::map<std::string, double>;

bench::play_options gateways_of(const json& status) {
  bench::play_options options;
  for (const auto& g : site_gateways(status))
    if (g.state == "serving") options.gateways.emplace(g.site, g.url);
  return options;
}

result<bench::workload> questions(std::uint32_t a_site, const std::string& model) {
  auto texts = bench::demo_texts({demo::site::kitchen, demo::site::workshop}, demo::split::report,
                                 2ull * a_site, report_seed);
  if (!texts) return texts.failure();
  bench::making making;
  making.seed = report_seed;
  making.adapter = model;
  making.texts_from = "demo, report split";
  making.arrivals_from = "evenly spaced";
  return bench::make_workload(
      bench::arrivals_at_rate(bench::spacing::poisson, questions_per_s, texts->size(), report_seed),
      *texts, making);
}

result<right_share> ask(std::uint32_t a_site, const json& status, const std::string& model) {
  const auto what = questions(a_site, model);
  if (!what) return what.failure();
  const auto done = bench::play(*what, gateways_of(status));
  if (!done) return done.failure();
  std::map<std::string, std::pair<double, double>> counts;
  for (const auto& r : done->requests) {
    auto& [right, asked] = counts[what->requests[r.index].site];
    ++asked;
    if (r.right) ++right;
    if (r.how == bench::outcome::failed) return error{errc::unavailable, model + ": " + r.error};
  }
  right_share out;
  for (const auto& [site, c] : counts) out[site] = 100 * c.first / c.second;
  return out;
}

bool ended(const std::string& state) {
  return state == "serving" || state == "rejected" || state == "voided";
}

std::string line_of(const json& round) {
  const auto number_text = [&](const char* key) {
    return std::to_string(static_cast<std::uint64_t>(number(round, key)));
  };
  const auto state = text(round, "state");
  std::string line = "round " + number_text("number") + ": " + state;
  if (state == "serving") line += " as " + text(round, "adapter") + "@" + number_text("version");
  if (const auto reason = text(round, "reason"); !reason.empty()) line += " (" + reason + ")";
  return line;
}

/// Tells of rounds as they end.
class round_watch {
 public:
  round_watch(console& io, const cluster_client& head) : io_(io), head_(head) {}

  void look() {
    const auto answer = head_.get("/admin/v1/rounds");
    if (!answer) return;  // asked again; the report says how many were seen
    const json& rounds = part(*answer, "rounds");
    if (!rounds.is_array()) return;
    for (const json& r : rounds) {
      const auto state = text(r, "state");
      if (!ended(state)) continue;
      if (!seen_.insert(text(r, "adapter") + " " + r["number"].dump()).second) continue;
      promoted_ += state == "serving" ? 1 : 0;
      if (!io_.wants_json()) io_.remarks() << io_.painted(line_of(r), style::dim) << std::endl;
    }
  }
  std::size_t rounds() const { return seen_.size(); }
  std::size_t promoted() const { return promoted_; }

 private:
  console& io_;
  const cluster_client& head_;
  std::set<std::string> seen_;
  std::size_t promoted_ = 0;
};

std::string percent(double share) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "%.0f %%", share);
  return buffer;
}

std::string table(const json& exact_match) {
  std::string out = "\nExact match on held-out requests\n";
  for (const auto& [site, row] : exact_match.items()) {
    out += "  " + site + ": before " + percent(number(row, "before")) + ", after " +
           percent(number(row, "after"));
    if (row.contains("alone")) out += ", alone " + percent(number(row, "alone"));
    out += "\n";
  }
  return out;
}

}  // namespace

result<played> play_learning(console& io, const cluster_client& head, const json& status,
                             const learning_demo& how) {
  const auto remark = [&](const std::string& text) {
    if (!io.wants_json()) io.remarks() << io.painted(text, style::dim) << std::endl;
  };
  remark("asking " + std::to_string(how.first_questions) + " questions a site, before …");
  const auto before = ask(how.first_questions, status, how.adapter + "@0");
  if (!before) return before.failure();
  const auto load = demo_workload(how.serving_seconds, how.serving_rate);
  if (!load) return load.failure();
  remark("serving " + std::to_string(load->requests.size()) + " requests while " + how.adapter +
         " learns …");
  auto serving = std::async(std::launch::async, [&] { return play(*load, status); });
  round_watch rounds(io, head);
  while (serving.wait_for(look_again) != std::future_status::ready) rounds.look();
  auto out = serving.get();
  if (!out) return out;
  remark("asking again, after …");
  const auto after = ask(how.questions, status, how.adapter);
  if (!after) return after.failure();
  std::optional<right_share> alone;
  if (how.alone) {
    const auto asked = ask(how.questions, status, how.adapter + "-alone");
    if (!asked) return asked.failure();
    alone = *asked;
  }
  rounds.look();
  json exact_match = json::object();
  for (const auto& [site, share] : *after) {
    exact_match[site] = {{"before", before->at(site)}, {"after", share}};
    if (alone) exact_match[site]["alone"] = alone->at(site);
  }
  out->report["exact_match"] = exact_match;
  out->report["questions"] = how.questions;
  out->report["rounds"] = rounds.rounds();
  out->report["promoted"] = rounds.promoted();
  out->text += table(exact_match) + "  " + std::to_string(rounds.rounds()) + " rounds, " +
               std::to_string(rounds.promoted()) + " versions promoted\n";
  return out;
}

}  // namespace collm::cli
