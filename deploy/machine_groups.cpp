#include "deploy/machine_groups.hpp"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

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

}  // namespace

group_limits limits_of_groups(const fs::path& list, const fs::path& root) {
  group_limits limits;
  std::ifstream in(list);
  for (std::string line; std::getline(in, line);) {
    const auto m = membership_in(line);
    if (!m) continue;
    const fs::path mounted = root / m->controllers;  // version 2 names none: `root` itself
    fs::path group = m->group;
    for (; group.has_relative_path(); group = group.parent_path())
      add_limits(limits, mounted / group.relative_path());
    add_limits(limits, mounted);
  }
  return limits;
}

}  // namespace collm::deploy
