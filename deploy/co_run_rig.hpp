// One production replica and engine with a real trainer beside it, and clients of their own: what
// `collm bench co-run` measures. Methods on one thread; the actors have theirs.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "coordinator/step_planner.hpp"
#include "coordinator/unit_times.hpp"
#include "deploy/actor_system.hpp"
#include "engine/engine.hpp"

namespace collm::deploy {

class co_run_rig {
 public:
  using clock = std::chrono::steady_clock;
  struct options {
    coordinator::slo promises;
    std::uint32_t threads = 1;
    std::uint32_t sample_tokens = 256, batch_tokens = 512;  ///< of the trainer
  };
  struct request {
    std::uint32_t prompt_tokens = 64, answer_tokens = 16;
    std::uint64_t salt = 1;  ///< sets the tokens; nothing of it is in the prefix cache
    clock::time_point due;
  };
  /// What the client of one request saw. All is written when `ended` is.
  struct answer {
    clock::time_point due, first, last;
    std::uint32_t tokens = 0;
    bool refused = false;
    std::atomic<bool> ended{false};
    double ttft_ms() const;
    double tpot_ms() const;  ///< 0: fewer than two tokens
  };
  using pending = std::shared_ptr<const answer>;
  /// A slot of the engine's loop.
  struct slot {
    clock::time_point at;
    double step_ms = 0, unit_ms = 0;
    actors::replica_report::training_figures training;
  };

  static result<std::unique_ptr<co_run_rig>> make(const engine::base_ptr& base, const options& o);
  ~co_run_rig();
  co_run_rig(const co_run_rig&) = delete;
  co_run_rig& operator=(const co_run_rig&) = delete;

  pending send(const request& r);
  /// Trains batch after batch in this share of time; 0: not at all.
  void grant(double share);

  /// As a node measures them at its start.
  coordinator::unit_sizes units() const { return units_; }
  std::uint64_t trained_tokens() const { return trained_->load(); }
  std::vector<slot> slots() const;  ///< all since start
  std::string fault() const;        ///< why training or the engine ended; empty: neither did

 private:
  /// What actors write.
  struct seen {
    mutable std::mutex mutex;
    std::vector<slot> slots;
    std::uint64_t steps = 0;
    std::string fault;
  };
  explicit co_run_rig(std::uint32_t vocabulary) : vocabulary_(vocabulary) {}
  void spawn_telemetry();
  void spawn_replica(const engine::base_ptr& base, const options& o);
  void spawn_feeder(std::shared_ptr<engine::trainer> trainer, const options& o);
  std::vector<std::uint32_t> tokens_of(std::uint64_t salt, std::uint32_t count) const;

  caf_system system_;
  const std::uint32_t vocabulary_;
  coordinator::unit_sizes units_;
  const std::shared_ptr<seen> seen_ = std::make_shared<seen>();
  const std::shared_ptr<std::atomic<std::uint64_t>> trained_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);
  actors::telemetry_actor telemetry_;
  actors::replica_actor replica_;
  caf::actor feeder_;
  request_id last_id_ = 0;
};

}  // namespace collm::deploy
