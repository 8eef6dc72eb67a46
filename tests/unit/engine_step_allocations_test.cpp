// What a step takes from the heap once it has warmed up: the vector that it gives back, nothing
// else. Every operator new of this binary counts, on both threads of the team.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/phase_clock.hpp"
#include "tests/support/tiny_model.hpp"

namespace {
std::atomic<std::uint64_t> allocations{0};
}

// Not inlined: GCC 12 would see malloc on one side and operator delete on the other.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  void* at = std::malloc(bytes);
  if (at == nullptr) throw std::bad_alloc();
  return at;
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(bytes);
}
[[gnu::noinline]] void operator delete(void* at) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, std::size_t) noexcept { std::free(at); }

namespace collm::engine {
namespace {

constexpr std::uint32_t sequences = 4, prompt = 20;

/// Sequences that have said their first token, in an executor of its own.
struct decoding {
  explicit decoding(const sampling& how, phase_clock* clock = nullptr) {
    auto made = make_executor(tiny::open_tiny(precision::int8), {.kv_bytes = 1 << 20,
                                                                 .threads = 2,
                                                                 .step_tokens_max = 128,
                                                                 .sequences_max = sequences,
                                                                 .clock = clock});
    EXPECT_TRUE(made);
    steps = std::move(*made);
    std::vector<step_work> prompts;
    for (std::uint32_t i = 0; i < sequences; ++i) {
      sequence_spec s;
      s.id = 1'000'000'000 + i;  // whose name in an error would not fit a short string
      s.prompt.assign(prompt, static_cast<std::int32_t>(4 + i));
      s.max_tokens = 40;
      s.ignore_eos = true;
      s.how = how;
      s.how.seed = i;
      prompts.push_back({s.id, prompt});
      work.push_back({s.id, 1});
      EXPECT_TRUE(steps->add(std::move(s)));
    }
    EXPECT_TRUE(steps->step(prompts));
  }
  std::unique_ptr<executor> steps;
  std::vector<step_work> work;
};

/// Positions 22 to 30 lie within one block, so no block is taken or published.
std::uint64_t allocations_of_eight_steps(decoding& d) {
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(d.steps->step(d.work));
  const auto before = allocations.load();
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(d.steps->step(d.work));
  return allocations.load() - before;
}

TEST(engine_step_allocations, greedy_takes_only_what_it_gives_back) {
  decoding d(sampling{});
  EXPECT_LE(allocations_of_eight_steps(d), 8u);
}

TEST(engine_step_allocations, drawing_takes_only_what_it_gives_back) {
  decoding d({.temperature = 1.0f, .top_p = 0.9f});
  EXPECT_LE(allocations_of_eight_steps(d), 8u);
}

TEST(engine_step_allocations, a_clock_takes_nothing_and_its_phases_make_up_the_step) {
  phase_clock clock;
  decoding d(sampling{}, &clock);
  EXPECT_LE(allocations_of_eight_steps(d), 8u);
  clock.reset();
  const auto start = phase_clock::clock::now();
  EXPECT_TRUE(d.steps->step(d.work));
  const double took = std::chrono::duration<double>(phase_clock::clock::now() - start).count();
  double seen = 0;
  for (std::size_t p = 0; p < phases_count; ++p) seen += clock.seconds(static_cast<phase>(p));
  EXPECT_LE(seen, took);
  for (const auto p :
       {phase::plan, phase::embed, phase::norm, phase::quantise, phase::qkv, phase::rotary,
        phase::keep, phase::attention, phase::o, phase::gate_up, phase::activation, phase::down,
        phase::residual, phase::head, phase::sampling, phase::bookkeeping})
    EXPECT_GT(clock.seconds(p), 0) << phase_names[static_cast<std::size_t>(p)];
  EXPECT_EQ(clock.seconds(phase::lora_down), 0);
}

}  // namespace
}  // namespace collm::engine
