// What `collm doctor` finds: can this machine run that manifest? One finding a question, each
// problem with its mend. Not the
// running cluster: that is status.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/plan.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

enum class health : std::uint8_t { good, warning, problem };
std::string_view to_string(health h);

struct finding {
  std::string about;  ///< "cores", "memory", "disk", "ports", "model", "speed", "keys", …
  health how = health::good;
  std::string text;  ///< what was found
  std::string mend;  ///< what to do; empty if good
};

/// Everything but speed: reads the system, binds each port for a moment.
std::vector<finding> examine(std::string_view yaml, std::string_view file,
                             const std::filesystem::path& base_dir, const machine& on);

/// Ports of the plan that cannot be listened on, each with its mend.
std::vector<finding> busy_ports(const spawn_plan& plan);

/// What lies in the plan's folders already: keys of the link and the clock that they are checked
/// by, databases, the file system, the sites' data. Changes nothing; the cluster may run.
std::vector<finding> examine_state(const spawn_plan& plan);

/// What is wrong with a state folder on such a file system, a number of linux/magic.h; nothing of
/// most.
std::optional<finding> wrong_file_system(const std::filesystem::path& state, long magic);

/// Can this address be listened on now? Error: why not.
result<void> try_port(const address& a);

/// A short measurement of one engine on one thread.
struct speed {
  std::string kernel_path;
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;
  double open_seconds = 0;  ///< to map the base; the first time on a machine it is packed
};
result<speed> measure_speed(const model_plan& model, const std::filesystem::path& cache_dir);
/// The rates, and whether this processor lacks what our kernels want.
finding judged(const speed& measured);

}  // namespace collm::deploy
