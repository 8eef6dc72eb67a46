// Starts what a spawn plan says and stops it in order. With cli/'s flags the only place where
// actors, engine, gateway and link are wired together. Not here: parsing (manifest), checking
// (plan).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "deploy/plan.hpp"
#include "messages/result.hpp"

namespace collm::deploy {

struct start_options {
  std::filesystem::path
      executable;  ///< this binary: node processes are started from it as `collm node`
  std::filesystem::path cache_dir;  ///< packed bases
  std::string log_level = "info";   ///< spdlog's name
  /// Told to stop while it starts: packing a model is given up, and the start is cancelled.
  std::function<bool()> over = [] { return false; };
};

/// The head process of a cluster, with the nodes that it placed in threads or spawned as processes.
class cluster {
 public:
  /// Opens ports, loads the base where needed, spawns nodes. Refuses with the port, file or process
  /// that is at fault.
  static result<std::unique_ptr<cluster>> start(const spawn_plan& plan, start_options options);
  ~cluster();
  /// Until every planned node serves; error: which did not, and why; cancelled: `over` held before.
  result<void> wait_ready(std::chrono::milliseconds at_most, const std::function<bool()>& over);
  /// ClusterStatus as GET /admin/v1/status has it, asked without a key.
  result<std::string> status_json() const;
  /// True once an admin asked for shutdown (collm down).
  bool stop_requested() const;
  /// Drains, stops nodes, then itself. What runs goes on for at most `running`; a watchdog ends the
  /// process 30 s later (deploy/stop_times.hpp).
  void stop(std::chrono::milliseconds running);

 private:
  struct impl;
  explicit cluster(std::unique_ptr<impl> state);
  std::unique_ptr<impl> impl_;
};

/// The body of a node process: serves until its head or a signal tells it to drain. Blocks. A
/// remote node's folder numbers its incarnations by itself.
result<void> run_node(const spawn_plan& plan, const std::string& node, std::uint64_t incarnation,
                      start_options options);

}  // namespace collm::deploy
