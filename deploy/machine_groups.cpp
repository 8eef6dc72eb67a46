#include "deploy/machine_groups.hpp"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace collm::deploy {
namespace {

namespace fs = std::filesystem;

/// None: no such file, or no number, as in "max".
template <class T>
std::optional<T> number_in(const fs::path& file) {
  std::ifstream in(file);
  T n = 0;
  return in >> n ? std::optional(n) : std::nullopt;
}

/// 200000 of 100000 microseconds: two cores. Version 1 says -1 where there is no limit.
void limit_cores(group_limits& limits, double quota, double period) {
  if (quota > 0 && period > 0) limits.cores = std::min(limits.cores, quota / period);
}

void add_limits(group_limits& limits, const fs::path& group) {
  for (const auto* file : {"memory.max", "memory.limit_in_bytes"})
    if (const auto bytes = number_in<std::uint64_t>(group / file))
      limits.memory_bytes = std::min(limits.memory_bytes, *bytes);
  double quota = 0, period = 0;
  if (std::ifstream(group / "cpu.max") >> quota >> period) limit_cores(limits, quota, period);
  limit_cores(limits, number_in<double>(group / "cpu.cfs_quota_us").value_or(-1),
              number_in<double>(group / "cpu.cfs_period_us").value_or(-1));
}

/// "0::/system.slice/collm.service" of version 2, "4:memory:/docker/1f2e" of version 1.
struct membership {
  std::string controllers, group;
};

std::optional<membership> membership_in(const std::string& line) {
  const auto first = line.find(':');
  const auto second = first == std::string::npos ? first : line.find(':', first + 1);
  if (second == std::string::npos) return std::nullopt;
  return membership{line.substr(first + 1, second - first - 1), line.substr(second + 1)};
}

/// Below the root: version 2 has one, or `unified` beside those of version 1; there each controller
/// has its own, or several share one and each has a link.
std::vector<std::string> mounts_of(const std::string& controllers) {
  if (controllers.empty()) return {"", "unified"};
  std::vector<std::string> mounts;
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');) mounts.push_back(name);
  return mounts;
}

/// From that group up. Where it cannot be seen, its name is the host's and tells nothing: then what
/// is mounted is the group of the container.
void add_limits_from(group_limits& limits, const fs::path& mounted, fs::path group) {
  std::error_code unseen;
  const bool outside = std::find(group.begin(), group.end(), "..") != group.end();
  if (outside || !fs::is_directory(mounted / group, unseen)) group.clear();
  for (; !group.empty(); group = group.parent_path()) add_limits(limits, mounted / group);
  add_limits(limits, mounted);
}

}  // namespace

group_limits limits_of_groups(const fs::path& list, const fs::path& root) {
  group_limits limits;
  add_limits(limits, root);
  std::ifstream in(list);
  for (std::string line; std::getline(in, line);) {
    const auto m = membership_in(line);
    if (!m) continue;
    for (const auto& mounted : mounts_of(m->controllers))
      add_limits_from(limits, root / mounted, fs::path(m->group).relative_path());
  }
  return limits;
}

}  // namespace collm::deploy
