#include "deploy/engine_bench.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

namespace collm::deploy {
namespace {

using clock = std::chrono::steady_clock;

constexpr std::uint32_t step_rows = 512;
constexpr const char* adapter_name = "bench";

double seconds_since(clock::time_point start) {
  return std::chrono::duration<double>(clock::now() - start).count();
}

/// KV bytes that the widest row needs, in whole blocks, and one block a sequence to spare.
std::uint64_t kv_bytes_for(const engine::base& base, const engine_bench_options& o) {
  constexpr std::uint64_t block = 16;
  const auto blocks = [&](std::uint64_t tokens) { return (tokens + block - 1) / block + 1; };
  std::uint64_t most = blocks(o.prefill_tokens + 1);
  for (const auto n : o.decode) most = std::max(most, n * blocks(o.context_tokens + o.steps + 1));
  return most * block * engine::kv_token_bytes(base.shape(), base.precision());
}

/// One executor and the sequences that go through it.
class rig {
 public:
  rig(engine::base_ptr base, engine_bench_options o, std::unique_ptr<engine::executor> steps)
      : base_(std::move(base)), o_(std::move(o)), steps_(std::move(steps)) {}

  result<void> load_adapters() {
    for (std::uint32_t i = 0; i < o_.adapters; ++i) {
      auto made = engine::initial_adapter(*base_, o_.adapter_rank, 2.0f * o_.adapter_rank,
                                          {"q", "k", "v", "o", "gate", "up", "down"}, i + 1);
      if (!made) return made.failure();
      if (auto done = steps_->load({adapter_name, i + 1}, *made); !done) return done;
    }
    return {};
  }

  result<double> prefill() {
    const auto id = add(o_.prefill_tokens, 1);
    if (!id) return id.failure();
    const auto start = clock::now();
    if (auto done = read_prompts(); !done) return done.failure();
    return o_.prefill_tokens / seconds_since(start);
  }

  result<double> decode(std::uint32_t sequences) {
    std::vector<engine::step_work> work;
    for (std::uint32_t i = 0; i < sequences; ++i) {
      const auto id = add(o_.context_tokens, o_.steps + 1);
      if (!id) return id.failure();
      work.push_back({*id, 1});
    }
    if (auto done = read_prompts(); !done) return done.failure();
    const auto start = clock::now();
    for (std::uint32_t i = 0; i < o_.steps; ++i) {
      const auto said = steps_->step(work);
      if (!said) return said.failure();
    }
    return sequences * o_.steps / seconds_since(start);
  }

  engine::memory_view memory() const { return steps_->memory(); }

 private:
  /// A sequence of its own tokens under its own salt: nothing of it is in the prefix cache.
  result<engine::sequence_id> add(std::uint32_t prompt_tokens, std::uint32_t answer_tokens) {
    engine::sequence_spec s;
    s.id = ++last_id_;
    s.cache_salt = s.id;
    s.max_tokens = answer_tokens;
    s.ignore_eos = true;
    if (o_.adapters > 0)
      s.version = {adapter_name, static_cast<std::uint32_t>(s.id % o_.adapters) + 1};
    // Any tokens do: the time does not depend on them. Away from control tokens at the front.
    const std::uint64_t vocab = base_->shape().vocab,
                        front = std::min<std::uint64_t>(64, vocab / 2);
    for (std::uint32_t i = 0; i < prompt_tokens; ++i)
      s.prompt.push_back(
          static_cast<std::int32_t>(front + (s.id * 7919 + i * 104729ull) % (vocab - front)));
    const auto id = s.id;
    if (auto added = steps_->add(std::move(s)); !added) return added.failure();
    return id;
  }

  /// Steps of full width until each sequence has said its first token.
  result<void> read_prompts() {
    for (;;) {
      std::vector<engine::step_work> work;
      std::uint32_t room = step_rows;
      for (const auto& s : steps_->sequences()) {
        if (s.produced > 0) continue;
        const auto tokens = std::min(room, s.length - s.computed);
        if (tokens == 0) break;
        work.push_back({s.id, tokens});
        room -= tokens;
      }
      if (work.empty()) return {};
      if (const auto said = steps_->step(work); !said) return said.failure();
    }
  }

  engine::base_ptr base_;
  engine_bench_options o_;
  std::unique_ptr<engine::executor> steps_;
  engine::sequence_id last_id_ = 0;
};

template <class F>
result<rates> measure(std::uint32_t runs, F one_run) {
  rates out;
  for (std::uint32_t i = 0; i <= runs; ++i) {
    const result<double> rate = one_run();
    if (!rate) return rate.failure();
    if (i > 0) out.push_back(*rate);  // the first one warms up
  }
  return out;
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
    if (n == 0 || n > step_rows)
      return error{errc::bad_request, "sequences at once: 1 to " + std::to_string(step_rows)};
  return {};
}

}  // namespace

double median(rates values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

result<engine_bench> run_engine_bench(const engine_bench_options& o) {
  engine_bench out;
  out.kernel_path = engine::kernel_path();
  const auto start = clock::now();
  auto base = engine::open_base(o.model, o.precision, o.cache_dir);
  if (!base) return base.failure();
  out.open_seconds = seconds_since(start);
  if (auto fits = check((*base)->shape(), o); !fits) return fits.failure();
  engine::executor_options options;
  options.kv_bytes = kv_bytes_for(**base, o);
  options.threads = o.threads;
  options.step_tokens_max = step_rows;
  options.sequences_max = step_rows;
  auto made = engine::make_executor(*base, options);
  if (!made) return made.failure();
  rig on(*base, o, std::move(*made));
  if (auto loaded = on.load_adapters(); !loaded) return loaded.failure();
  auto prefill = measure(o.runs, [&] { return on.prefill(); });
  if (!prefill) return prefill.failure();
  out.prefill_tokens_per_s = *prefill;
  for (const auto n : o.decode) {
    auto row = measure(o.runs, [&] { return on.decode(n); });
    if (!row) return row.failure();
    out.decode.push_back({n, *row});
  }
  out.memory = on.memory();
  return out;
}

}  // namespace collm::deploy
