#include "cli/plan_view.hpp"

#include <array>
#include <cstdio>

namespace collm::cli {
namespace {

std::string precision_text(engine::precision p) {
  return p == engine::precision::int8 ? "int8" : "f32";
}

std::string address_text(const std::optional<deploy::address>& a) {
  return a ? to_string(*a) : "-";
}

std::string nodes_text(const deploy::spawn_plan& plan) {
  std::vector<std::vector<std::string>> rows = {
      {"NODE", "SITE", "RUNS AS", "REPLICAS", "THREADS", "KV CACHE", "HTTP", "CAP'N PROTO"}};
  rows.push_back({"head", "-", "process", "-", "-", "-",
                  shown_address(plan.head.http, plan.head.tls), address_text(plan.head.capnp)});
  for (const deploy::node_plan& n : plan.nodes) {
    rows.push_back({n.name, n.site, std::string(to_string(n.where)), std::to_string(n.replicas),
                    std::to_string(n.threads * n.replicas),
                    size_text(double(n.kv_bytes * n.replicas)), shown_address(n.http, n.tls),
                    address_text(n.capnp)});
  }
  return table(rows);
}

std::string ledger_text(const deploy::spawn_plan& plan) {
  std::vector<std::vector<std::string>> rows = {{"MEMORY", "PLANNED", ""}};
  for (const deploy::ledger_row& row : plan.ledger) {
    rows.push_back(
        {row.name, size_text(double(row.bytes)), row.shared ? "one copy on this machine" : ""});
  }
  rows.push_back({"total", size_text(double(plan.planned_bytes())),
                  "of a budget of " + size_text(double(plan.budget_bytes))});
  return table(rows);
}

std::string adapters_text(const deploy::spawn_plan& plan) {
  std::string text;
  for (const deploy::adapter_spec& a : plan.adapters) {
    std::string targets;
    for (const std::string& t : a.targets) targets += (targets.empty() ? "" : " ") + t;
    text += "adapter  " + a.name + ": rank " + std::to_string(a.rank) + ", alpha " +
            json(a.alpha).dump() + ", on " + targets +
            (a.path.empty() ? "; starts as the base" : "; starts from " + a.path) + "\n";
  }
  return text;
}

json optional_address(const std::optional<deploy::address>& a) {
  return a ? json(to_string(*a)) : json(nullptr);
}

json node_json(const deploy::node_plan& n) {
  return {{"name", n.name},
          {"site", n.site},
          {"placement", to_string(n.where)},
          {"replicas", n.replicas},
          {"threads", n.threads},
          {"kv_bytes", n.kv_bytes},
          {"data", n.data},
          {"http", shown_address(n.http, n.tls)},
          {"capnp", optional_address(n.capnp)}};
}

}  // namespace

std::string size_text(double bytes) {
  constexpr std::array<const char*, 5> units = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < units.size(); ++unit) bytes /= 1024;
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), bytes < 10 && unit ? "%.1f %s" : "%.0f %s", bytes,
                units[unit]);
  return text.data();
}

std::string plan_text(const deploy::spawn_plan& plan, const console& io) {
  std::string text = io.painted("cluster  " + plan.cluster, style::bold) + ": " + plan.model.name +
                     ", " + precision_text(plan.model.precision) + ", from " +
                     plan.model.file.string() + "\n";
  text += adapters_text(plan);
  text += "state    " + plan.head.state_dir.string() + ", link " + to_string(plan.head.link) +
          " (mutual TLS)" +
          (plan.head.enrol ? ", nodes join at " + to_string(*plan.head.enrol) : "") + "\n";
  text += "SLO      first token within " + std::to_string(plan.slo.ttft_ms) +
          " ms, each next within " + std::to_string(plan.slo.tpot_ms) + " ms\n\n" +
          nodes_text(plan) + "\n" + ledger_text(plan);
  if (!plan.notes.empty() || !plan.inactive.empty()) text += "\n";
  for (const std::string& note : plan.notes)
    text += io.painted("note: " + note, style::warning) + "\n";
  for (const std::string& part : plan.inactive) text += io.painted(part, style::dim) + "\n";
  return text;
}

json plan_json(const deploy::spawn_plan& plan) {
  json nodes = json::array(), ledger = json::array(), adapters = json::array();
  for (const deploy::node_plan& n : plan.nodes) nodes.push_back(node_json(n));
  for (const deploy::ledger_row& row : plan.ledger) {
    ledger.push_back(
        {{"name", row.name}, {"bytes", row.bytes}, {"budget", row.budget}, {"shared", row.shared}});
  }
  for (const deploy::adapter_spec& a : plan.adapters) {
    adapters.push_back({{"name", a.name},
                        {"rank", a.rank},
                        {"alpha", a.alpha},
                        {"targets", a.targets},
                        {"spill", a.spill},
                        {"path", a.path}});
  }
  return {{"cluster", plan.cluster},
          {"model",
           {{"name", plan.model.name},
            {"file", plan.model.file.string()},
            {"bytes", plan.model.file_bytes},
            {"precision", precision_text(plan.model.precision)}}},
          {"adapters", adapters},
          {"head",
           {{"state_dir", plan.head.state_dir.string()},
            {"http", shown_address(plan.head.http, plan.head.tls)},
            {"capnp", optional_address(plan.head.capnp)},
            {"link", to_string(plan.head.link)},
            {"enrol", optional_address(plan.head.enrol)},
            {"host", plan.head.host}}},
          {"nodes", nodes},
          {"slo", {{"ttft_ms", plan.slo.ttft_ms}, {"tpot_ms", plan.slo.tpot_ms}}},
          {"ledger", ledger},
          {"planned_bytes", plan.planned_bytes()},
          {"budget_bytes", plan.budget_bytes},
          {"notes", plan.notes},
          {"inactive", plan.inactive}};
}

}  // namespace collm::cli
