// What this machine offers: cores and memory after the system's and the control groups' limits.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "deploy/machine_groups.hpp"
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

std::filesystem::path default_cache() {
  if (const char* set = std::getenv("COLLM_CACHE"); set && *set)
    return std::filesystem::absolute(set);
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home ? home : "/tmp") / ".cache" / "collm";
}

}  // namespace

machine machine::here() {
  const auto groups = limits_of_groups();
  const double cores = std::min<double>(affinity_cores(), std::max(1.0, groups.cores));
  const auto memory = std::uint64_t(sysconf(_SC_PHYS_PAGES)) * std::uint64_t(sysconf(_SC_PAGESIZE));
  return {static_cast<std::uint32_t>(cores), std::min(memory, groups.memory_bytes),
          default_cache()};
}

}  // namespace collm::deploy
