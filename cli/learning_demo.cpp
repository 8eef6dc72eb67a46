#include "cli/learning_demo.hpp"

#include <algorithm>
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

struct answers {
  std::map<std::string, double> right;  ///< percent of answers equal to the reference, by site
  std::set<std::string> by;             ///< versions: more than one, if one was promoted meanwhile
};

std::string versions_of(const answers& a) {
  std::string all;
  for (const auto& version : a.by) all += (all.empty() ? "" : ", ") + version;
  return all;
}

bench::play_options options_of(const json& status, const learning_demo& how) {
  bench::play_options options;
  options.over = how.over;
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

result<answers> ask(std::uint32_t a_site, const json& status, const std::string& model,
                    const learning_demo& how) {
  const auto what = questions(a_site, model);
  if (!what) return what.failure();
  const auto done = bench::play(*what, options_of(status, how));
  if (!done) return done.failure();
  answers out;
  std::map<std::string, std::pair<double, double>> counts;
  for (const auto& r : done->requests) {
    auto& [right, asked] = counts[what->requests[r.index].site];
    ++asked;
    if (r.right) ++right;
    if (r.how == bench::outcome::answered) out.by.insert(r.answered_by);
    if (r.how == bench::outcome::failed) return error{errc::unavailable, model + ": " + r.error};
  }
  for (const auto& [site, c] : counts) out.right[site] = 100 * c.first / c.second;
  return out;
}

/// Whether a version that rounds made serves: then the state is of an earlier run.
bool has_learned(const json& status, const std::string& adapter) {
  const json& versions = part(status, "versions");
  return std::any_of(versions.begin(), versions.end(), [&](const json& v) {
    return text(v, "adapter") == adapter && text(v, "state") == "serving" &&
           number(v, "number") > 0;
  });
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

/// Tells of rounds as they end, but not of those that had ended when it began: the state may be of
/// an earlier run.
class round_watch {
 public:
  static result<round_watch> begin(console& io, const cluster_client& head) {
    round_watch watch(io, head);
    if (auto earlier = watch.newly_ended(); !earlier) return earlier.failure();
    return watch;
  }

  void look() {
    const auto news = newly_ended();
    if (!news) return;  // asked again; the report says how many were seen
    for (const json& r : *news) {
      ++rounds_;
      promoted_ += text(r, "state") == "serving" ? 1 : 0;
      io_.remark(line_of(r));
    }
  }
  std::size_t rounds() const { return rounds_; }
  std::size_t promoted() const { return promoted_; }

 private:
  round_watch(console& io, const cluster_client& head) : io_(io), head_(head) {}

  result<std::vector<json>> newly_ended() {
    const auto answer = head_.get("/admin/v1/rounds");
    if (!answer) return answer.failure();
    std::vector<json> out;
    for (const json& r : part(*answer, "rounds")) {
      const auto name = text(r, "adapter") + " " + part(r, "number").dump();
      if (ended(text(r, "state")) && seen_.insert(name).second) out.push_back(r);
    }
    return out;
  }

  console& io_;
  const cluster_client& head_;
  std::set<std::string> seen_;
  std::size_t rounds_ = 0, promoted_ = 0;
};

std::string percent(double share) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "%.0f %%", share);
  return buffer;
}

std::string table(const json& exact_match, const answers& before, const answers& after) {
  std::string out = "\nExact match on held-out requests, before by " + versions_of(before) +
                    ", after by " + versions_of(after) + "\n";
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
  auto rounds = round_watch::begin(io, head);
  if (!rounds) return rounds.failure();
  const auto first = has_learned(status, how.adapter) ? how.questions : how.first_questions;
  io.remark("asking " + std::to_string(first) + " questions a site, before …");
  // What serves now, by its bare name: over the state of an earlier run that is no version 0.
  const auto before = ask(first, status, how.adapter, how);
  if (!before) return before.failure();
  const auto load = demo_workload(how.serving_seconds, how.serving_rate);
  if (!load) return load.failure();
  io.remark("serving " + std::to_string(load->requests.size()) + " requests while " + how.adapter +
            " learns …");
  auto serving = std::async(std::launch::async, [&] { return play(*load, status, {}, how.over); });
  while (serving.wait_for(look_again) != std::future_status::ready) rounds->look();
  auto out = serving.get();
  if (!out) return out;
  io.remark("asking again, after …");
  const auto after = ask(how.questions, status, how.adapter, how);
  if (!after) return after.failure();
  std::optional<answers> alone;
  if (how.alone) {
    // It serves from a site's first whole task on; without it all else stands.
    const auto asked = ask(how.questions, status, how.adapter + "-alone", how);
    if (asked) {
      alone = *asked;
    } else if (asked.failure().code == errc::cancelled) {
      return asked.failure();
    } else {
      out->report["alone_failed"] = asked.failure().message;
      io.remark("the control could not be asked: " + asked.failure().message);
    }
  }
  rounds->look();
  json exact_match = json::object();
  for (const auto& [site, share] : after->right) {
    exact_match[site] = {{"before", before->right.at(site)}, {"after", share}};
    if (alone) exact_match[site]["alone"] = alone->right.at(site);
  }
  out->report["exact_match"] = exact_match;
  out->report["answered_by"] = {{"before", versions_of(*before)}, {"after", versions_of(*after)}};
  out->report["questions"] = how.questions;
  out->report["rounds"] = rounds->rounds();
  out->report["promoted"] = rounds->promoted();
  out->text += table(exact_match, *before, *after) + "  " + std::to_string(rounds->rounds()) +
               " rounds, " + std::to_string(rounds->promoted()) + " versions promoted\n";
  return out;
}

}  // namespace collm::cli
