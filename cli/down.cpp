#include "cli/cluster_client.hpp"
#include "cli/status_view.hpp"
#include "cli/verbs.hpp"

#include <chrono>
#include <ostream>
#include <thread>

namespace collm::cli {
namespace {

using clock = std::chrono::steady_clock;

/// The head answers until its nodes are gone: 45 s at most (docs/ARCHITECTURE.md).
constexpr std::chrono::seconds stop_max{60};
constexpr std::chrono::milliseconds look_again{200};

bool gone_within(const cluster_client& cluster, clock::duration at_most) {
  for (const auto end = clock::now() + at_most; clock::now() < end;
       std::this_thread::sleep_for(look_again)) {
    if (!cluster.answers()) return true;
  }
  return false;
}

json summary(const json& status) {
  const request_totals sum = totals(status);
  json versions = json::array();
  const json& records = part(status, "versions");
  if (records.is_array()) {
    for (const json& v : records) {
      versions.push_back(text(v, "adapter") + "@" +
                         std::to_string(static_cast<unsigned>(number(v, "number"))));
    }
  }
  return {{"stopped", true},
          {"cluster", text(status, "cluster")},
          {"uptime_ms", number(status, "uptimeMs")},
          {"answered", sum.answered},
          {"refused", sum.refused},
          {"failed", sum.failed},
          {"cancelled", sum.cancelled},
          {"versions", versions}};
}

void print_summary(console& io, const json& s) {
  io.out() << text(s, "cluster", "the cluster")
           << " is down: " << std::uint64_t(number(s, "answered")) << " answered, "
           << std::uint64_t(number(s, "refused")) << " refused, "
           << std::uint64_t(number(s, "failed")) << " failed, "
           << std::uint64_t(number(s, "cancelled")) << " cancelled in "
           << std::uint64_t(number(s, "uptime_ms") / 1000) << " s";
  for (const json& version : s["versions"]) io.out() << "; " << version.get<std::string>();
  io.out() << std::endl;
}

int down(console& io, const cluster_flags& flags) {
  const auto cluster = cluster_client::connect(flags);
  if (!cluster) return io.fail(cluster.failure());
  const auto last = cluster->status();
  if (!last) return io.fail(last.failure());
  if (const auto head = part(*last, "head"); !text(head, "site").empty())
    return io.fail({errc::bad_request, flags.url + " is the gateway of node " + text(head, "node") +
                                           ", not the head's: name that with --url, or end this "
                                           "node alone with collm drain " +
                                           text(head, "node")});
  const auto asked = cluster->post("/admin/v1/shutdown", json::object());
  if (!asked) return io.fail(asked.failure());
  if (!gone_within(*cluster, stop_max)) {
    return io.fail({errc::timeout, "the head still answers after " +
                                       std::to_string(stop_max.count()) +
                                       " s; collm status tells what runs"});
  }
  if (io.wants_json())
    io.print(summary(*last));
  else
    print_summary(io, summary(*last));
  return success;
}

}  // namespace

void add_down(program& p) {
  verb v(p.app, "down", "Drain and stop a running cluster");
  const auto flags = std::make_shared<cluster_flags>();
  add_cluster_flags(v, *flags);
  v.runs(p.io, p.exit, [&io = p.io, flags] { return down(io, *flags); });
}

}  // namespace collm::cli
