// What an earlier run left, or somebody put, where the plan's cluster will work.
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>

#include "deploy/doctor.hpp"
#include "gateway/byte_stream.hpp"
#include "link/certificates.hpp"
#include "store/database_file.hpp"

namespace collm::deploy {
namespace fs = std::filesystem;
namespace {

bool is_there(const fs::path& path) {
  std::error_code ignored;  // what cannot be looked at is found when it is read
  return fs::exists(path, ignored);
}

void add_file_system(const fs::path& state, std::vector<finding>& all) {
  struct statfs about {};
  if (::statfs(state.c_str(), &about) != 0) return;  // not made yet
  if (auto wrong = wrong_file_system(state, about.f_type)) all.push_back(std::move(*wrong));
}

void add_access(const fs::path& state, std::vector<finding>& all) {
  std::error_code failed;
  const auto modes = fs::status(state, failed).permissions();
  if (failed || (modes & (fs::perms::group_all | fs::perms::others_all)) == fs::perms::none) return;
  all.push_back({"access", health::warning,
                 state.string() + " is open to other users of this machine: what sites train on "
                                  "and hashes of keys lie there",
                 "chmod 700 " + state.string() + " (collm up does it, too)"});
}

void add_gateway_keys(const std::optional<tls_spec>& tls, const std::string& whose,
                      std::vector<finding>& all) {
  if (!tls) return;
  const auto good = gateway::make_tls_context({tls->certificate, tls->key});
  if (!good)
    all.push_back({"tls", health::problem, "gateway of " + whose + ": " + good.failure().message,
                   "name a certificate and its key, readable for this user alone, in its "
                   "gateway.tls"});
}

void add_keys(const spawn_plan& plan, std::vector<finding>& all) {
  const fs::path folder = plan.head.state_dir / "link";
  const auto look = [&](const link::tls_files& files, const std::string& name) {
    if (!is_there(files.certificate)) return;
    const auto good = link::check_certificate(files, name);
    if (!good)
      all.push_back({"keys", health::problem, good.failure().message,
                     good.failure().code == errc::forbidden
                         ? "chmod 600 " + files.key.string()
                         : "set the clock if it is wrong; else move " + folder.string() +
                               " away: collm up makes new keys, and nodes elsewhere join again"});
  };
  look(link::head_files(folder), link::head_common_name(plan.cluster));
  for (const node_plan& n : plan.nodes)
    look(link::node_files(folder, n.name), link::node_common_name(n.name));
}

void add_databases(const fs::path& state, std::vector<finding>& all) {
  for (const char* name : {"registry.db", "rounds.db", "jobs.db"}) {
    if (!is_there(state / name)) continue;
    const auto good = store::check_database(state / name);
    if (!good)
      all.push_back({"state", health::problem, good.failure().message,
                     "move " + state.string() + " away and collm restore a backup"});
  }
}

void add_data(const spawn_plan& plan, std::vector<finding>& all) {
  for (const node_plan& n : plan.nodes) {
    if (n.data.empty() && plan.learns())
      all.push_back({"data", health::warning,
                     n.name + " has no data: its site trains on feedback "
                              "and uploaded files alone",
                     "name a JSONL file or a folder as its data, if there is one"});
    if (n.data.empty() || n.data.starts_with("builtin:")) continue;
    const fs::path file = plan.base_dir / n.data;
    if (::access(file.c_str(), R_OK) != 0)
      all.push_back({"data", health::problem,
                     "the data of " + n.name + ", " + file.string() + ", cannot be read",
                     "mend the path or its permissions"});
  }
}

}  // namespace

std::vector<finding> examine_state(const spawn_plan& plan) {
  std::vector<finding> all;
  add_file_system(plan.head.state_dir, all);
  add_access(plan.head.state_dir, all);
  add_keys(plan, all);
  add_gateway_keys(plan.head.tls, "the head", all);
  for (const node_plan& n : plan.nodes) add_gateway_keys(n.tls, n.name, all);
  add_databases(plan.head.state_dir, all);
  add_data(plan, all);
  if (std::ranges::none_of(all, [](const finding& f) { return f.how != health::good; }))
    all.push_back(
        {"state", health::good, "keys, databases and data are whole, or not made yet", ""});
  return all;
}

}  // namespace collm::deploy
