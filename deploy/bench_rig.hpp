// One executor driven by hand, and the made-up sequences that go through it: what the engine's
// benchmarks stand on. One thread.
#pragma once

#include <memory>
#include <vector>

#include "deploy/engine_bench.hpp"
#include "engine/executor.hpp"

namespace collm::deploy {

class bench_rig {
 public:
  static constexpr std::uint32_t step_rows = 512;  ///< most rows of a step

  /// Opens the base, makes an executor for the widest row of `o`, loads the adapters. Refuses what
  /// does not fit the model's context. `clock` may be nullptr.
  static result<std::unique_ptr<bench_rig>> make(const engine_bench_options& o,
                                                 engine::phase_clock* clock);

  /// A sequence of its own tokens under its own salt: nothing of it is in the prefix cache.
  result<engine::sequence_id> add(std::uint32_t prompt_tokens, std::uint32_t answer_tokens);
  /// Steps of full width until each sequence has said its first token; how many.
  result<std::uint32_t> read_prompts();
  /// So many sequences that are ready to decode, as a step's work.
  result<std::vector<engine::step_work>> decoding(std::uint32_t sequences);

  engine::executor& executor() { return *steps_; }

 private:
  bench_rig(engine::base_ptr base, engine_bench_options o, std::unique_ptr<engine::executor> steps)
      : base_(std::move(base)), o_(std::move(o)), steps_(std::move(steps)) {}
  result<void> load_adapters();

  engine::base_ptr base_;
  engine_bench_options o_;
  std::unique_ptr<engine::executor> steps_;
  engine::sequence_id last_id_ = 0;
};

}  // namespace collm::deploy
