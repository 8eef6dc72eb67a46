// What the control groups of this process let it have (the kernel's cgroup-v1/, cgroup-v2.rst): its
// own group's and those of every group above, such as a service's MemoryMax= or a container's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>

namespace collm::deploy {

struct group_limits {
  double cores = std::numeric_limits<double>::infinity();
  std::uint64_t memory_bytes = UINT64_MAX;
};

/// The least of each. Versions 1 and 2; a group that cannot be seen, as from within a container,
/// limits nothing. `list`: the process's groups; `root`: where their folders are mounted.
group_limits limits_of_groups(const std::filesystem::path& list = "/proc/self/cgroup",
                              const std::filesystem::path& root = "/sys/fs/cgroup");

}  // namespace collm::deploy
