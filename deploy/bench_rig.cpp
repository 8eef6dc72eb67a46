#include "deploy/bench_rig.hpp"

#include <algorithm>

namespace collm::deploy {
namespace {

constexpr const char* adapter_name = "bench";

/// KV bytes that the widest row needs, in whole blocks, and one block a sequence to spare.
std::uint64_t kv_bytes_for(const engine::base& base, const engine_bench_options& o) {
  constexpr std::uint64_t block = 16;
  const auto blocks = [&](std::uint64_t tokens) { return (tokens + block - 1) / block + 1; };
  std::uint64_t most = blocks(o.prefill_tokens + 1);
  for (const auto n : o.decode) most = std::max(most, n * blocks(o.context_tokens + o.steps + 1));
  return most * block * engine::kv_token_bytes(base.shape(), base.precision());
}

result<void> check(const engine::model_shape& shape, const engine_bench_options& o) {
  const std::uint64_t longest =
      std::max<std::uint64_t>(o.prefill_tokens + 1ull, 1ull + o.context_tokens + o.steps);
  if (longest > shape.context)
    return error{errc::bad_request, "the longest sequence would have " + std::to_string(longest) +
                                        " tokens, the model takes " +
                                        std::to_string(shape.context)};
  if (o.prefill_tokens == 0 || o.steps == 0 || o.runs == 0 || o.context_tokens == 0)
    return error{errc::bad_request, "prefill, context, steps and runs must be at least 1"};
  for (const auto n : o.decode)
    if (n == 0 || n > bench_rig::step_rows)
      return error{errc::bad_request,
                   "sequences at once: 1 to " + std::to_string(bench_rig::step_rows)};
  return {};
}

}  // namespace

result<std::unique_ptr<bench_rig>> bench_rig::make(const engine_bench_options& o,
                                                   engine::phase_clock* clock) {
  auto base = engine::open_base(o.model, o.precision, o.cache_dir);
  if (!base) return base.failure();
  if (auto fits = check((*base)->shape(), o); !fits) return fits.failure();
  engine::executor_options options;
  options.kv_bytes = kv_bytes_for(**base, o);
  options.threads = o.threads;
  options.step_tokens_max = step_rows;
  options.sequences_max = step_rows;
  options.clock = clock;
  auto made = engine::make_executor(*base, options);
  if (!made) return made.failure();
  std::unique_ptr<bench_rig> rig(new bench_rig(*base, o, std::move(*made)));
  if (auto loaded = rig->load_adapters(); !loaded) return loaded.failure();
  return rig;
}

result<void> bench_rig::load_adapters() {
  for (std::uint32_t i = 0; i < o_.adapters; ++i) {
    auto made = engine::initial_adapter(*base_, o_.adapter_rank, 2.0f * o_.adapter_rank,
                                        {"q", "k", "v", "o", "gate", "up", "down"}, i + 1);
    if (!made) return made.failure();
    if (auto done = steps_->load({adapter_name, i + 1}, *made); !done) return done;
  }
  return {};
}

result<engine::sequence_id> bench_rig::add(std::uint32_t prompt_tokens,
                                           std::uint32_t answer_tokens) {
  engine::sequence_spec s;
  s.id = ++last_id_;
  s.cache_salt = s.id;
  s.max_tokens = answer_tokens;
  s.ignore_eos = true;
  s.how = o_.how;
  s.how.seed = s.id;
  if (o_.adapters > 0)
    s.version = {adapter_name, static_cast<std::uint32_t>(s.id % o_.adapters) + 1};
  // Any tokens do: the time does not depend on them. Away from control tokens at the front.
  const std::uint64_t vocab = base_->shape().vocab, front = std::min<std::uint64_t>(64, vocab / 2);
  for (std::uint32_t i = 0; i < prompt_tokens; ++i)
    s.prompt.push_back(
        static_cast<std::int32_t>(front + (s.id * 7919 + i * 104729ull) % (vocab - front)));
  const auto id = s.id;
  if (auto added = steps_->add(std::move(s)); !added) return added.failure();
  return id;
}

result<std::uint32_t> bench_rig::read_prompts() {
  for (std::uint32_t steps = 0;; ++steps) {
    std::vector<engine::step_work> work;
    std::uint32_t room = step_rows;
    for (const auto& s : steps_->sequences()) {
      if (s.produced > 0) continue;
      const auto tokens = std::min(room, s.length - s.computed);
      if (tokens == 0) break;
      work.push_back({s.id, tokens});
      room -= tokens;
    }
    if (work.empty()) return steps;
    if (const auto said = steps_->step(work); !said) return said.failure();
  }
}

result<std::vector<engine::step_work>> bench_rig::decoding(std::uint32_t sequences) {
  std::vector<engine::step_work> work;
  for (std::uint32_t i = 0; i < sequences; ++i) {
    const auto id = add(o_.context_tokens, o_.steps + 1);
    if (!id) return id.failure();
    work.push_back({*id, 1});
  }
  if (auto read = read_prompts(); !read) return read.failure();
  return work;
}

}  // namespace collm::deploy
