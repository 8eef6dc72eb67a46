// What this machine offers: cores and memory after the system's and the control group's limits.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "deploy/plan.hpp"

namespace collm::deploy {
namespace {

/// Cores that the scheduler may use for this process.
std::uint32_t affinity_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&allowed)));
}

/// "200000 100000" of a control group: two cores. "max 100000": unlimited.
std::uint32_t group_cores(std::uint32_t otherwise) {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (!(file >> quota >> period) || quota <= 0 || period <= 0) return otherwise;
  return static_cast<std::uint32_t>(std::max(1.0, quota / period));
}

std::uint64_t group_memory(std::uint64_t otherwise) {
  std::ifstream file("/sys/fs/cgroup/memory.max");
  std::uint64_t bytes = 0;
  return file >> bytes ? bytes : otherwise;
}

std::filesystem::path default_cache() {
  if (const char* set = std::getenv("COLLM_CACHE"); set && *set)
    return std::filesystem::absolute(set);
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home ? home : "/tmp") / ".cache" / "collm";
}

}  // namespace

machine machine::here() {
  const std::uint32_t cores = affinity_cores();
  const auto memory = std::uint64_t(sysconf(_SC_PHYS_PAGES)) * std::uint64_t(sysconf(_SC_PAGESIZE));
  return {std::min(cores, group_cores(cores)), std::min(memory, group_memory(memory)),
          default_cache()};
}

}  // namespace collm::deploy
