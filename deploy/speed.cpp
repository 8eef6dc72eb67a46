// A short measurement of one engine: what this machine can be expected to serve.
#include <chrono>

#include "deploy/doctor.hpp"
#include "engine/engine.hpp"

namespace collm::deploy {
namespace {

using clock = std::chrono::steady_clock;

constexpr std::uint32_t prompt_tokens = 128, answer_tokens = 32;

double seconds_since(clock::time_point start) {
  return std::chrono::duration<double>(clock::now() - start).count();
}

engine::sequence_spec made_up_sequence(const engine::model_shape& shape) {
  engine::sequence_spec s;
  s.id = 1;
  s.max_tokens = answer_tokens;
  s.ignore_eos = true;
  // Any tokens do: the time does not depend on them. Away from the control tokens at the front.
  for (std::uint32_t i = 0; i < prompt_tokens; ++i)
    s.prompt.push_back(static_cast<std::int32_t>(shape.vocab / 2 + i) %
                       static_cast<std::int32_t>(shape.vocab));
  return s;
}

result<void> run(engine::executor& with, std::uint32_t tokens) {
  const engine::step_work work{1, tokens};
  const auto done = with.step({&work, 1});
  if (!done) return done.failure();
  return {};
}

}  // namespace

result<speed> measure_speed(const model_plan& model, const std::filesystem::path& cache_dir) {
  speed s;
  s.kernel_path = engine::kernel_path();
  auto start = clock::now();
  auto base = engine::open_base(model.file, model.precision, cache_dir);
  if (!base) return base.failure();
  s.open_seconds = seconds_since(start);
  engine::executor_options options;
  options.kv_bytes = 64ull << 20;
  auto made = engine::make_executor(*base, options);
  if (!made) return made.failure();
  if (auto added = (*made)->add(made_up_sequence((*base)->shape())); !added) return added.failure();
  start = clock::now();
  if (auto done = run(**made, prompt_tokens); !done) return done.failure();
  s.prefill_tokens_per_s = prompt_tokens / seconds_since(start);
  start = clock::now();
  for (std::uint32_t i = 1; i < answer_tokens; ++i) {
    if (auto done = run(**made, 1); !done) return done.failure();
  }
  s.decode_tokens_per_s = (answer_tokens - 1) / seconds_since(start);
  return s;
}

}  // namespace collm::deploy
