#include "cli/training_view.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "cli/cluster_client.hpp"
#include "cli/plan_view.hpp"
#include "messages/shown_text.hpp"

namespace collm::cli {
namespace {

constexpr double bytes_per_token = 4;  // English text, small vocabularies; a forecast, no count
// A token's way forth, back through the base, and into the factors: each about as long as reading
// it (docs/adr/0006).
constexpr double training_over_reading = 3;

std::string count(double value) {
  char out[32];
  std::snprintf(out, sizeof out, "%.0f", value);
  return out;
}

std::string signed_number(double value) {
  char out[32];
  std::snprintf(out, sizeof out, "%+.4f", value);
  return out;
}

std::string share(double value) {
  char out[32];
  std::snprintf(out, sizeof out, "%.2f %%", value * 100);
  return out;
}

std::string seconds(double ms) {
  char out[32];
  std::snprintf(out, sizeof out, ms < 99500 ? "%.0f s" : "%.0f min",
                ms < 99500 ? ms / 1000 : ms / 60000);
  return out;
}

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

template <class F>
void each(const json& list, F&& f) {
  if (!list.is_array()) return;
  for (const json& one : list) f(one);
}

std::string version_of(const json& round) {
  const double version = number(round, "version");
  return version > 0 ? text(round, "adapter") + "@" + count(version) : "-";
}

double accepted(const json& round) {
  double n = 0;
  each(part(round, "participants"),
       [&](const json& p) { n += text(p, "state") == "accepted" ? 1 : 0; });
  return n;
}

std::string participants_table(const json& list) {
  std::vector<std::vector<std::string>> rows = {
      {"CLIENT", "SITE", "STATE", "STEPS", "TOKENS", "UPDATE", "WHY"}};
  each(list, [&](const json& p) {
    rows.push_back({text(p, "client"), or_dash(text(p, "site")), text(p, "state", "-"),
                    count(number(p, "step")) + "/" + count(number(p, "steps")),
                    count(number(p, "tokens")), or_dash(text(p, "digest").substr(0, 12)),
                    text(p, "reason")});
  });
  return rows.size() == 1 ? "" : table(rows);
}

}  // namespace

std::string rounds_text(const json& rounds) {
  std::vector<std::vector<std::string>> rows = {
      {"ROUND", "ADAPTER", "STATE", "FROM", "MADE", "UPDATES", "OPENED", "WHY"}};
  each(part(rounds, "rounds"), [&](const json& r) {
    const json& participants = part(r, "participants");
    rows.push_back(
        {count(number(r, "number")), text(r, "adapter"), text(r, "state", "-"),
         "@" + count(number(r, "parent")), version_of(r),
         count(accepted(r)) + "/" +
             count(participants.is_array() ? static_cast<double>(participants.size()) : 0),
         seconds(number(r, "ageMs")) + " ago", text(r, "reason")});
  });
  return rows.size() == 1 ? "no round yet\n" : table(rows);
}

std::string round_text(const json& round, const console& io) {
  std::string out = io.painted("round " + count(number(round, "number")) + " of " +
                                   text(round, "adapter") + ": " + text(round, "state", "-"),
                               style::bold) +
                    "\n";
  if (const auto why = text(round, "reason"); !why.empty()) out += on_one_line(why) + "\n";
  out += "from " + text(round, "adapter") + "@" + count(number(round, "parent")) + ", made " +
         version_of(round) + ", " + text(round, "aggregate", "-") + ", quorum " +
         count(number(round, "quorum"));
  if (const double left = number(round, "remainingMs"); left > 0)
    out += ", closes in " + seconds(left) + " at the latest";
  if (const double lost = number(round, "error", -1); lost >= 0)
    out += ", aggregation error " + share(lost);
  return out + "\n" + participants_table(part(round, "participants"));
}

std::string explanation_text(const json& e, const console& io) {
  const json& version = part(e, "version");
  std::string out =
      io.painted(text(version, "adapter", "-") + "@" + count(number(version, "number")) + ": " +
                     or_dash(text(version, "state")),
                 style::bold) +
      "\n" + on_one_line(or_dash(text(e, "verdict"))) + "\n";
  if (number(e, "count") > 0) {
    out += "paired test at " + count(number(e, "look")) + " sequences (" +
           count(number(e, "count")) + " seen): better by " + signed_number(number(e, "mean")) +
           " nats a token, at least " + signed_number(number(e, "lower")) + "; margin " +
           signed_number(-number(e, "margin")) + "\n";
  }
  std::vector<std::vector<std::string>> rows = {
      {"SITE", "SEQUENCES", "BETTER BY", "AT LEAST", "REMARK"}};
  each(part(e, "sites"), [&](const json& s) {
    const bool veto = part(s, "veto") == true, weak = part(s, "weak") == true;
    rows.push_back({text(s, "site"), count(number(s, "count")), signed_number(number(s, "mean")),
                    signed_number(number(s, "bound")),
                    veto   ? "veto"
                    : weak ? "few sequences"
                           : (text(s, "site") == "(guard)" ? "general text" : "")});
  });
  if (rows.size() > 1) out += table(rows);
  each(part(e, "silent"), [&](const json& site) {
    if (site.is_string()) out += on_one_line(site.get<std::string>()) + " did not answer\n";
  });
  if (number(e, "round") > 0) out += "made by round " + count(number(e, "round")) + " of:\n";
  return out + participants_table(part(e, "updates"));
}

std::string replay_text(const json& r) {
  std::string out = "round " + count(number(r, "round")) + " of " + text(r, "adapter") +
                    " without " + text(r, "without") + ": " + count(number(r, "updates")) +
                    " updates, factors change by " + share(number(r, "relativeChange")) + "\n" +
                    "it made " + or_dash(text(r, "original").substr(0, 12)) + ", without it " +
                    or_dash(text(r, "digest").substr(0, 12)) + "\n";
  std::string later;
  each(part(r, "builtOn"), [&](const json& n) {
    if (n.is_number()) later += (later.empty() ? "" : ", ") + count(n.get<double>());
  });
  return out + (later.empty() ? "no later round built on it\n"
                              : "rounds that built on it and would change too: " + later + "\n");
}

std::string jobs_text(const json& jobs) {
  std::vector<std::vector<std::string>> rows = {
      {"JOB", "ADAPTER", "STATE", "ROUNDS", "WENT LIVE", "SERVES", "TOKENS", "WHY"}};
  each(part(jobs, "jobs"), [&](const json& j) {
    const double wanted = number(j, "rounds");
    rows.push_back({text(j, "id"), text(j, "adapter"), text(j, "state", "-"),
                    count(number(j, "done")) + (wanted > 0 ? "/" + count(wanted) : ""),
                    count(number(j, "promoted")), "@" + count(number(j, "version")),
                    count(number(j, "tokens")), text(j, "message")});
  });
  return rows.size() == 1 ? "no job yet\n" : table(rows);
}

std::string job_text(const json& job) { return jobs_text({{"jobs", json::array({job})}}); }

void add_gain(held_out_gain& to, const json& explanation, const std::string& site) {
  each(part(explanation, "sites"), [&](const json& s) {
    if (text(s, "site") != site) return;
    ++to.versions;
    to.nats += number(s, "mean");
    to.sequences = number(s, "count");
  });
}

std::string gain_text(const held_out_gain& gain, const std::string& site) {
  if (gain.versions == 0) return "no version went live: held-out data is answered as before\n";
  return "held-out data of " + site + ": " + (gain.nats >= 0 ? "better" : "worse") + " by " +
         signed_number(std::abs(gain.nats)).substr(1) + " nats a token than before (" +
         count(gain.versions) + (gain.versions == 1 ? " version, " : " versions, ") +
         count(gain.sequences) + " sequences)\n";
}

const json* find_round(const json& rounds, const std::string& adapter, std::uint32_t wanted) {
  const json* found = nullptr;
  each(part(rounds, "rounds"), [&](const json& r) {
    const bool named = adapter.empty() || text(r, "adapter") == adapter;
    if (named && number(r, "number") == wanted) found = &r;
  });
  return found;
}

const json* find_job(const json& jobs, const std::string& id) {
  const json* found = nullptr;
  each(part(jobs, "jobs"), [&](const json& j) {
    if (text(j, "id") == id) found = &j;
  });
  return found;
}

result<named_version> parse_version(const std::string& text) {
  const auto at = text.find('@');
  named_version out{text.substr(0, at), 0};
  if (at == text.npos && !text.empty()) return out;
  const auto [end, failed] = std::from_chars(text.data() + std::min(at + 1, text.size()),
                                             text.data() + text.size(), out.number);
  if (at != text.npos && !out.adapter.empty() && failed == std::errc() &&
      end == text.data() + text.size())
    return out;
  return error{errc::bad_request,
               "\"" + text + "\" is no version; say ADAPTER or ADAPTER@N, such as assistant@3"};
}

std::vector<file_part> split_lines(const std::string& text, std::size_t bytes_max) {
  std::vector<file_part> parts;
  std::uint64_t lines = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    const auto next = end == text.npos ? text.size() : end + 1;
    if (parts.empty() || parts.back().text.size() + (next - at) > bytes_max)
      parts.push_back({lines, {}});
    parts.back().text.append(text, at, next - at);
    ++lines;
    at = next;
  }
  return parts;
}

adapt_forecast forecast(const std::string& text_of_file, const json& status,
                        const std::string& site) {
  adapt_forecast f;
  f.lines = static_cast<std::uint64_t>(std::count(text_of_file.begin(), text_of_file.end(), '\n')) +
            (text_of_file.empty() || text_of_file.ends_with('\n') ? 0 : 1);
  f.tokens = static_cast<double>(text_of_file.size()) / bytes_per_token;
  const auto of_process = [&](const json& snapshot) {
    if (text(snapshot, "site") != site) return;
    each(part(snapshot, "replicas"),
         [&](const json& r) { f.tokens_per_s += number(r, "trainingTokensPerSecond"); });
    each(part(snapshot, "ledger"), [&](const json& entry) {
      const auto name = text(entry, "name");
      const bool training = name.find("shadow") != name.npos ||
                            name.find("optimizer") != name.npos ||
                            name.find("training") != name.npos;
      if (!training) return;
      f.training_bytes += number(entry, "bytes");
      f.budget_bytes += number(entry, "budget");
    });
  };
  of_process(part(status, "head"));
  each(part(status, "nodes"), [&](const json& node) { of_process(part(node, "snapshot")); });
  if (f.tokens_per_s > 0) f.minutes = f.tokens / f.tokens_per_s / 60;
  return f;
}

adapt_forecast forecast_by_reading(adapt_forecast f, double read_tokens_per_s) {
  if (f.minutes > 0 || !(read_tokens_per_s > 0)) return f;
  f.read_tokens_per_s = read_tokens_per_s;
  f.minutes = f.tokens * training_over_reading / read_tokens_per_s / 60;
  return f;
}

std::string forecast_text(const adapt_forecast& f) {
  std::string out =
      count(static_cast<double>(f.lines)) + " lines, about " + count(f.tokens) + " tokens; ";
  if (f.minutes > 0 && f.tokens_per_s <= 0) {
    char text[160];
    std::snprintf(text, sizeof text,
                  "one pass takes about %.1f min at a third of the %.0f tokens/s at which the site "
                  "reads now",
                  f.minutes, f.read_tokens_per_s);
    out += text;
  } else if (f.minutes > 0) {
    char text[96];
    std::snprintf(text, sizeof text, "one pass takes about %.1f min at the %.0f tokens/s of now",
                  f.minutes, f.tokens_per_s);
    out += text;
  } else {
    out += "how long a pass takes is not known: the site trains nothing now";
  }
  const double bytes = std::max(f.training_bytes, f.budget_bytes);
  return out + (bytes > 0 ? "; training holds " + size_text(bytes) + " there\n"
                          : "; the site's ledger names no memory for training\n");
}

json forecast_json(const adapt_forecast& f) {
  return {{"lines", f.lines},
          {"tokens", f.tokens},
          {"tokens_per_s", f.tokens_per_s},
          {"read_tokens_per_s", f.read_tokens_per_s},
          {"minutes_per_pass", f.minutes > 0 ? json(f.minutes) : json(nullptr)},
          {"training_bytes", std::max(f.training_bytes, f.budget_bytes)}};
}

}  // namespace collm::cli
