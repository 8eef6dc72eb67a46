#include "cli/status_view.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <vector>

#include "cli/cluster_client.hpp"
#include "cli/plan_view.hpp"

namespace collm::cli {
namespace {

constexpr double never = 4294967295.0;  // beatAgeMs of a node that never beat

std::string rounded(double value, const char* unit) {
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.1f%s" : "%.0f%s", value, unit);
  return text;
}

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

std::string count(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", value);
  return text;
}

std::string duration(double ms) {
  const auto s = static_cast<unsigned long>(ms / 1000);
  if (s < 60) return rounded(ms / 1000, " s");
  if (s < 3600) return std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s";
  return std::to_string(s / 3600) + " h " + std::to_string(s / 60 % 60) + " min";
}

void each_process(const json& status, const std::function<void(const json&)>& body) {
  body(part(status, "head"));
  const json& nodes = part(status, "nodes");
  if (!nodes.is_array()) return;
  for (const json& node : nodes) body(part(node, "snapshot"));
}

style style_of(const std::string& state) {
  if (state == "serving") return style::good;
  return state == "lost" || state == "stopped" ? style::bad : style::warning;
}

std::vector<std::string> node_row(const std::string& name, const std::string& site,
                                  const std::string& state, const std::string& restarts,
                                  const std::string& beat, const json& snapshot) {
  const json& requests = part(snapshot, "requests");
  const double ttft = number(snapshot, "ttftMsP50"), tpot = number(snapshot, "tpotMsP50");
  return {name,
          site,
          state,
          restarts,
          beat,
          count(number(requests, "inFlight")),
          rounded(number(snapshot, "tokensPerSecond"), ""),
          ttft > 0 ? rounded(ttft, " ms") : "-",
          tpot > 0 ? rounded(tpot, " ms") : "-",
          size_text(number(snapshot, "residentBytes")),
          text(snapshot, "httpAddress", "-")};
}

std::string nodes_text(const json& status, const console& io) {
  const json& head = part(status, "head");
  std::vector<std::vector<std::string>> rows = {{"NODE", "SITE", "STATE", "RESTARTS", "BEAT",
                                                 "RUNNING", "TOK/S", "TTFT", "TPOT", "MEMORY",
                                                 "ADDRESS"}};
  std::vector<style> styles = {style::dim, style::plain};
  rows.push_back(
      node_row(text(head, "node", "head"), or_dash(text(head, "site")), "serving", "-", "-", head));
  const json& nodes = part(status, "nodes");
  if (nodes.is_array()) {
    for (const json& node : nodes) {
      const std::string state = text(node, "state");
      const double beat = number(node, "beatAgeMs", never);
      rows.push_back(
          node_row(text(node, "name"), text(node, "site"), state, count(number(node, "restarts")),
                   beat >= never ? "never" : rounded(beat / 1000, " s"), part(node, "snapshot")));
      styles.push_back(state == "serving" ? style::plain : style_of(state));
    }
  }
  // Painted line by line: escapes inside a cell would spoil the columns.
  std::string lines = table(rows), painted;
  for (std::size_t i = 0, begin = 0; begin < lines.size(); ++i) {
    const auto end = lines.find('\n', begin);
    painted += io.painted(lines.substr(begin, end - begin), styles[i]) + "\n";
    begin = end + 1;
  }
  return painted;
}

std::string losses_text(const json& status, const console& io) {
  std::string lines;
  const json& nodes = part(status, "nodes");
  if (!nodes.is_array()) return lines;
  for (const json& node : nodes) {
    const json& missing = part(node, "missing");
    for (std::size_t i = 0; missing.is_array() && i < missing.size(); ++i) {
      lines += io.painted(text(node, "name") + ": lacks " + missing[i].get<std::string>() +
                              ", which serves by the registry; its events say why",
                          style::bad) +
               "\n";
    }
    const std::string reason = text(node, "reason");
    if (reason.empty()) continue;
    const bool now = text(node, "state") != "serving";
    lines += io.painted(text(node, "name") + (now ? ": " : ", lost before: ") + reason,
                        now ? style::bad : style::dim) +
             "\n";
  }
  return lines;
}

std::string versions_text(const json& status) {
  const json& versions = part(status, "versions");
  if (!versions.is_array() || versions.empty()) return "no adapter versions\n";
  std::vector<std::vector<std::string>> rows = {
      {"VERSION", "STATE", "RANK", "SIZE", "SOURCE", "DIGEST"}};
  for (const json& v : versions) {
    const json& bytes = part(v, "bytes");  // 64-bit integers are strings in Cap'n Proto's JSON
    const double size =
        bytes.is_string() ? std::atof(bytes.get<std::string>().c_str()) : number(v, "bytes");
    rows.push_back(
        {text(v, "adapter") + "@" + std::to_string(static_cast<unsigned>(number(v, "number"))),
         text(v, "state"), count(number(v, "rank")), size_text(size), text(v, "source", "-"),
         text(v, "digest").substr(0, 12)});
  }
  return table(rows);
}

}  // namespace

double memory_used(const json& status) {
  double own = 0;
  std::map<std::string, double> shared;
  each_process(status, [&](const json& snapshot) {
    const json& ledger = part(snapshot, "ledger");
    if (!ledger.is_array()) return;
    for (const json& entry : ledger) {
      const double bytes = number(entry, "bytes");
      const json& is_shared = part(entry, "shared");
      double& of_name = shared[text(entry, "name")];
      if (is_shared.is_boolean() && is_shared.get<bool>())
        of_name = std::max(of_name, bytes);
      else
        own += bytes;
    }
  });
  for (const auto& [name, bytes] : shared) own += bytes;
  return own;
}

std::string kernel_path_of(const json& status) {
  std::string path;
  each_process(status, [&](const json& snapshot) {
    if (path.empty()) path = text(snapshot, "kernelPath");
  });
  return path;
}

request_totals totals(const json& status) {
  request_totals sum;
  each_process(status, [&](const json& snapshot) {
    const json& requests = part(snapshot, "requests");
    sum.answered += number(requests, "answered");
    sum.refused += number(requests, "refused");
    sum.failed += number(requests, "failed");
    sum.cancelled += number(requests, "cancelled");
  });
  return sum;
}

std::string status_text(const json& status, const console& io) {
  const request_totals sum = totals(status);
  std::string lines = io.painted(text(status, "cluster", "cluster"), style::bold) + ": " +
                      text(status, "baseName", "-") + " " + text(status, "precision") + ", up " +
                      duration(number(status, "uptimeMs")) + ", CoLLM " +
                      text(status, "version", "-") + "\n\n";
  lines += nodes_text(status, io) + losses_text(status, io) + "\n" + versions_text(status) + "\n";
  lines += "requests: " + count(sum.answered) + " answered, " + count(sum.refused) + " refused, " +
           count(sum.failed) + " failed, " + count(sum.cancelled) + " cancelled; memory " +
           size_text(memory_used(status)) + "\n";
  const json& inactive = part(status, "inactive");
  if (inactive.is_array()) {
    for (const json& line : inactive) {
      if (line.is_string()) lines += io.painted(line.get<std::string>(), style::dim) + "\n";
    }
  }
  return lines;
}

}  // namespace collm::cli
