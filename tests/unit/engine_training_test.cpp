// The trainer as its driver sees it: units in order, the bit law of training, phases, checkpoints,
// evaluation, refusals, memory. On tiny models.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "tests/support/instruction_path.hpp"
#include "tests/support/tiny_model.hpp"
#include "tests/support/training_batches.hpp"

namespace collm::engine {
namespace {

using training::run_batch;
using training::run_evaluation;
using batch = std::vector<training_sample>;

training_options small_options() {
  training_options o;
  o.learning_rate = 1e-2f;
  o.warmup_steps = 2;
  o.batch_tokens = 128;
  o.sample_tokens = 96;
  o.window_tokens = 32;
  o.head_tokens = 16;
  return o;
}

/// Samples of these lengths, a third of each a prompt; the same for the same seed.
batch samples(std::uint64_t seed, const std::vector<std::uint32_t>& lengths) {
  tiny::random_numbers random(seed);
  batch all;
  for (const auto n : lengths) {
    training_sample s;
    for (std::uint32_t i = 0; i < n; ++i)
      s.tokens.push_back(static_cast<std::int32_t>(random.below(200)));
    s.prompt_tokens = std::max(1u, n / 3);
    all.push_back(std::move(s));
  }
  return all;
}

batch some_batch(std::uint64_t seed) { return samples(seed, {7, 80, 2, 14}); }

std::unique_ptr<trainer> make(const training_options& o = small_options(),
                              precision p = precision::int8, std::uint64_t seed = 5) {
  const auto b = tiny::open_tiny(p);
  auto made = make_trainer(b, tiny::random_adapter(b->shape(), seed, 3, 0.1f), o);
  EXPECT_TRUE(made) << made.failure().message;
  return *std::move(made);
}

std::vector<float> numbers(const trainer& t) {
  std::vector<float> all;
  for (const auto& f : t.factors()) all.insert(all.end(), f.values.begin(), f.values.end());
  return all;
}

void expect_same_bytes(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(0, std::memcmp(a.data(), b.data(), a.size() * sizeof(float)));
}

/// Largest change of A's and of B's factors.
std::pair<float, float> changes(const trainer& t, const std::vector<float>& before) {
  float of_a = 0, of_b = 0;
  std::size_t at = 0;
  for (const auto& f : t.factors())
    for (const float v : f.values) {
      auto& most = f.is_b ? of_b : of_a;
      most = std::max(most, std::fabs(v - before[at++]));
    }
  return {of_a, of_b};
}

TEST(trainer, plans_windows_forward_then_back_and_the_optimizer_last) {
  const auto t = make();
  ASSERT_FALSE(t->next());
  ASSERT_TRUE(t->begin_batch(samples(1, {70})));  // 69 rows: windows of 32, 32 and 5; 47 losses
  std::vector<std::pair<unit_kind, std::uint32_t>> seen;
  while (const auto unit = t->next()) {
    seen.emplace_back(unit->kind, unit->tokens);
    ASSERT_TRUE(t->run());
  }
  using enum unit_kind;
  const std::vector<std::pair<unit_kind, std::uint32_t>> expected = {
      {layer_forward, 32},  {layer_forward, 32}, {layer_forward, 32},  {layer_forward, 32},
      {layer_forward, 5},   {layer_forward, 5},  {loss_head, 5},       {layer_backward, 5},
      {layer_backward, 5},  {loss_head, 16},     {loss_head, 16},      {layer_backward, 32},
      {layer_backward, 32}, {loss_head, 10},     {layer_backward, 32}, {layer_backward, 32},
      {optimizer_step, 0}};
  EXPECT_EQ(expected, seen);
}

TEST(trainer, reports_a_batch_that_reached_the_optimizer) {
  const auto t = make();
  const auto first = run_batch(*t, some_batch(1));
  EXPECT_EQ(1u, first.step);
  EXPECT_EQ(4u, first.samples);
  EXPECT_EQ(103u, first.tokens);
  EXPECT_EQ(103u - 2 - 26 - 1 - 4, first.completion_tokens);
  EXPECT_GT(first.loss, 1);
  EXPECT_GT(first.gradient_norm, 0);
  EXPECT_FLOAT_EQ(5e-3f, first.learning_rate);
  EXPECT_EQ(2u, run_batch(*t, some_batch(2)).step);
  EXPECT_EQ(2u, t->steps());
}

TEST(trainer, learns_a_batch_by_heart) {
  for (const auto p : {precision::int8, precision::f32}) {
    const auto t = make(small_options(), p);
    const double first = run_batch(*t, some_batch(1)).loss;
    for (int i = 0; i < 30; ++i) (void)run_batch(*t, some_batch(1));
    EXPECT_LT(run_batch(*t, some_batch(1)).loss, 0.7 * first);
  }
}

TEST(trainer, one_thread_or_two_and_work_between_units_give_the_same_bytes) {
  auto two = small_options();
  two.threads = 2;
  const auto alone = make(), together = make(two),
             other = make(small_options(), precision::int8, 9);
  ASSERT_TRUE(other->begin_batch(some_batch(7)));
  for (std::uint64_t step = 0; step < 3; ++step) {
    const auto expected = run_batch(*alone, some_batch(step));
    ASSERT_TRUE(together->begin_batch(some_batch(step)));
    batch_report report;
    while (together->next()) {
      const auto done = together->run();
      ASSERT_TRUE(done);
      if (done->batch) report = *done->batch;
      if (other->next()) {
        ASSERT_TRUE(other->run());
      }
    }
    EXPECT_EQ(expected.loss, report.loss);
    EXPECT_EQ(expected.gradient_norm, report.gradient_norm);
  }
  expect_same_bytes(numbers(*alone), numbers(*together));
}

TEST(trainer, a_loss_head_in_pieces_of_few_rows_gives_the_same_bytes) {
  auto few = small_options();
  few.head_tokens = 4;
  const auto at_once = make(), in_pieces = make(few);
  for (std::uint64_t step = 0; step < 3; ++step)
    EXPECT_EQ(run_batch(*at_once, some_batch(step)).loss,
              run_batch(*in_pieces, some_batch(step)).loss);
  expect_same_bytes(numbers(*at_once), numbers(*in_pieces));
}

/// Of a shadow after three steps.
std::string digest_here() {
  const auto t = make();
  for (std::uint64_t step = 0; step < 3; ++step) (void)run_batch(*t, some_batch(step));
  return adapter_digest(*t->snapshot());
}

TEST(trainer, has_one_digest_after_the_same_steps) {
  const std::string digest = digest_here();
  EXPECT_EQ(digest, digest_here());
  std::printf("digest %s\n", digest.c_str());  // read by the next test
}

TEST(trainer, every_instruction_path_gives_the_same_bytes) {
  const std::string one = "*has_one_digest_after_the_same_steps";
  const std::string first = digest_on(kernel_path(), one);
  EXPECT_NE("", first);
  EXPECT_EQ(first, digest_on("avx2", one));
  EXPECT_EQ(first, digest_on("portable", one));
}

TEST(trainer, a_checkpoint_continues_bit_for_bit) {
  auto o = small_options();
  o.schedule = rate_schedule::cosine;
  o.total_steps = 9;
  const auto whole = make(o), before = make(o), after = make(o);
  for (std::uint64_t step = 0; step < 6; ++step) (void)run_batch(*whole, some_batch(step));
  for (std::uint64_t step = 0; step < 3; ++step) (void)run_batch(*before, some_batch(step));
  const auto saved = before->checkpoint();
  ASSERT_TRUE(saved) << saved.failure().message;
  ASSERT_TRUE(after->resume(*saved));
  EXPECT_EQ(3u, after->steps());
  for (std::uint64_t step = 3; step < 6; ++step) (void)run_batch(*after, some_batch(step));
  expect_same_bytes(numbers(*whole), numbers(*after));
}

TEST(trainer, that_takes_the_moments_of_a_checkpoint_goes_on_like_one_that_was_rebased) {
  auto o = small_options();
  o.schedule = rate_schedule::cosine;
  o.total_steps = 9;
  const auto stays = make(o), after = make(o);
  for (std::uint64_t step = 0; step < 3; ++step) (void)run_batch(*stays, some_batch(step));
  const auto saved = stays->checkpoint();
  ASSERT_TRUE(saved) << saved.failure().message;
  const auto parent = make(o, precision::int8, 6)->snapshot();
  for (const auto& t : {stays.get(), after.get()})
    ASSERT_TRUE(t->rebase(parent, trained_factors::b_only));
  ASSERT_TRUE(after->take_moments(*saved));
  EXPECT_EQ(3u, after->steps());
  expect_same_bytes(numbers(*stays), numbers(*after));
  for (std::uint64_t step = 3; step < 6; ++step) {
    (void)run_batch(*stays, some_batch(step));
    (void)run_batch(*after, some_batch(step));
  }
  expect_same_bytes(numbers(*stays), numbers(*after));
}

TEST(trainer, a_checkpoint_that_is_damaged_or_of_another_training_is_refused_by_name) {
  const auto t = make();
  (void)run_batch(*t, some_batch(1));
  auto bytes = *t->checkpoint();
  auto other = small_options();
  other.learning_rate = 1;
  const auto refusal = [&](const std::unique_ptr<trainer>& to) {
    const auto before = numbers(*to);
    const auto done = to->resume(bytes);
    EXPECT_FALSE(done);
    expect_same_bytes(before, numbers(*to));
    return done ? error{} : done.failure();
  };
  EXPECT_THAT(refusal(make(other)).message, testing::HasSubstr("learning_rate"));
  EXPECT_THAT(refusal(make(small_options(), precision::int8, 6)).message,
              testing::HasSubstr("parent"));
  EXPECT_EQ(errc::conflict, refusal(make(other)).code);
  for (const std::size_t at : {std::size_t{0}, std::size_t{20}, bytes.size() / 2}) {
    bytes[at] ^= 1;
    EXPECT_EQ(errc::corrupt, refusal(make()).code) << at;
    bytes[at] ^= 1;
  }
  bytes.pop_back();
  EXPECT_EQ(errc::corrupt, refusal(make()).code);
  bytes.clear();
  EXPECT_EQ(errc::corrupt, refusal(make()).code);
}

TEST(trainer, phases_change_only_their_factors) {
  auto o = small_options();
  o.weight_decay = 0.1f;
  o.factors = trained_factors::b_only;
  const auto t = make(o);
  const auto first = numbers(*t);
  (void)run_batch(*t, some_batch(1));
  EXPECT_EQ(0, changes(*t, first).first);
  EXPECT_GT(changes(*t, first).second, 1e-4f);
  const auto second = numbers(*t);
  ASSERT_TRUE(t->rebase(t->snapshot(), trained_factors::a_only));
  expect_same_bytes(second, numbers(*t));
  (void)run_batch(*t, some_batch(2));
  EXPECT_GT(changes(*t, second).first, 1e-4f);
  EXPECT_EQ(0, changes(*t, second).second);
}

TEST(trainer, prox_pulls_back_to_the_parent) {
  auto pulled = small_options();
  pulled.prox_mu = 10;
  const auto far = make(), near = make(pulled);
  const auto parent = numbers(*far);
  for (std::uint64_t step = 0; step < 20; ++step) {
    (void)run_batch(*far, some_batch(1));
    (void)run_batch(*near, some_batch(1));
  }
  EXPECT_LT(changes(*near, parent).second, 0.7f * changes(*far, parent).second);
}

TEST(trainer, lora_plus_moves_b_faster) {
  auto plus = small_options();
  plus.lora_plus_ratio = 4;
  const auto plain = make(), fast = make(plus);
  const auto parent = numbers(*plain);
  (void)run_batch(*plain, some_batch(1));
  (void)run_batch(*fast, some_batch(1));
  EXPECT_EQ(changes(*plain, parent).first, changes(*fast, parent).first);
  EXPECT_NEAR(4, changes(*fast, parent).second / changes(*plain, parent).second, 0.01);
}

TEST(trainer, snapshot_and_factors_hold_the_same_numbers) {
  const auto t = make();
  (void)run_batch(*t, some_batch(1));
  const auto kept = t->snapshot();
  const auto ours = t->factors(), theirs = adapter_factors(*kept);
  ASSERT_EQ(theirs.size(), ours.size());
  std::vector<std::span<const float>> values;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    EXPECT_EQ(theirs[i].name, ours[i].name);
    EXPECT_EQ(theirs[i].rows, ours[i].rows);
    EXPECT_EQ(theirs[i].columns, ours[i].columns);
    EXPECT_EQ(theirs[i].is_b, ours[i].is_b);
    EXPECT_TRUE(std::ranges::equal(theirs[i].values, ours[i].values)) << ours[i].name;
    values.push_back(ours[i].values);
  }
  const auto again = adapter_with_factors(*kept, values);
  ASSERT_TRUE(again);
  EXPECT_EQ(adapter_digest(*kept), adapter_digest(**again));
  std::vector<float> bad(values[3].begin(), values[3].end());
  bad[0] = NAN;
  values[3] = bad;
  EXPECT_THAT(adapter_with_factors(*kept, values).failure().message,
              testing::HasSubstr("layers.0.k.B"));
  values.pop_back();
  EXPECT_FALSE(adapter_with_factors(*kept, values));
  (void)run_batch(*t, some_batch(2));
  EXPECT_NE(adapter_digest(*kept), adapter_digest(*t->snapshot()));
}

/// Mean loss of one sample as the serving decoder gives it.
double served_loss(const base_ptr& b, const training_sample& s, const adapter_ptr& with) {
  return *cross_entropy(*b, s.tokens, static_cast<std::uint32_t>(s.tokens.size()), with);
}

TEST(trainer, evaluation_agrees_with_the_serving_decoder_and_changes_nothing) {
  for (const auto p : {precision::f32, precision::int8}) {
    const auto b = tiny::open_tiny(p);
    // On an int8 base training keeps its queries in halves and serving its factors (adr/0008): a
    // single token's loss, of this adapter with entries of 0.3, moves by a few hundredths.
    const double near = p == precision::f32 ? 2e-3 : 3e-2;
    const auto t = make(small_options(), p);
    (void)run_batch(*t, some_batch(1));
    auto some = samples(3, {20, 90, 5, 33, 2});
    for (auto& s : some) s.prompt_tokens = 1;  // as cross_entropy counts
    const auto before = numbers(*t);
    const auto other = tiny::random_adapter(b->shape(), 8, 2);
    const auto ours = run_evaluation(*t, some, nullptr), theirs = run_evaluation(*t, some, other);
    ASSERT_EQ(some.size(), ours.size());
    ASSERT_EQ(some.size(), theirs.size());
    for (std::size_t i = 0; i < some.size(); ++i) {
      EXPECT_EQ(some[i].tokens.size() - 1, ours[i].completion_tokens);
      EXPECT_NEAR(served_loss(b, some[i], t->snapshot()), ours[i].cross_entropy, near) << i;
      EXPECT_NEAR(served_loss(b, some[i], other), theirs[i].cross_entropy, near) << i;
    }
    expect_same_bytes(before, numbers(*t));
  }
}

/// A's first rows and B's first columns of `whole`.
void expect_first_directions(const std::vector<factor>& some, const std::vector<factor>& whole) {
  ASSERT_EQ(some.size(), whole.size());
  for (std::size_t i = 0; i < some.size(); ++i)
    for (std::uint32_t r = 0; r < some[i].rows; ++r)
      for (std::uint32_t c = 0; c < some[i].columns; ++c)
        ASSERT_EQ(some[i].values[r * some[i].columns + c],
                  whole[i].values[r * whole[i].columns + c])
            << some[i].name;
}

TEST(trainer, of_a_smaller_rank_trains_the_first_directions_and_scores_whole_versions) {
  auto o = small_options();
  o.rank = 2;
  const auto b = tiny::open_tiny(precision::int8);
  const auto whole = tiny::random_adapter(b->shape(), 5, 3, 0.1f),
             next = tiny::random_adapter(b->shape(), 6, 3, 0.1f);
  const auto t = *make_trainer(b, whole, o), full = *make_trainer(b, whole, small_options());
  for (const auto& f : t->factors()) EXPECT_EQ(f.is_b ? f.columns : f.rows, 2u);
  expect_first_directions(t->factors(), full->factors());
  const auto before = numbers(*t);
  (void)run_batch(*t, some_batch(1));
  EXPECT_GT(changes(*t, before).second, 1e-4f);
  const auto ours = run_evaluation(*t, some_batch(2), next),
             theirs = run_evaluation(*full, some_batch(2), next);
  for (std::size_t i = 0; i < ours.size(); ++i)
    EXPECT_EQ(ours[i].cross_entropy, theirs[i].cross_entropy);
  EXPECT_LE(t->used().total(), t->declared().total());
  ASSERT_TRUE(t->rebase(next, trained_factors::both));
  expect_first_directions(t->factors(), adapter_factors(*next));
}

TEST(trainer, evaluation_tells_what_greedy_decoding_would_write) {
  const auto t = make(small_options(), precision::f32);
  auto some = samples(4, {12, 12});
  for (int i = 0; i < 80; ++i) (void)run_batch(*t, {some[0]});
  const auto scores = run_evaluation(*t, some, nullptr);
  EXPECT_TRUE(scores[0].exact);
  EXPECT_FALSE(scores[1].exact);
}

TEST(trainer, refuses_by_name_what_it_cannot_take) {
  const auto t = make();
  const auto refusal = [&](const batch& b) {
    const auto begun = t->begin_batch(b);
    EXPECT_FALSE(t->next());
    return begun ? std::string() : begun.failure().message;
  };
  EXPECT_THAT(refusal({}), testing::HasSubstr("at least one sample"));
  EXPECT_THAT(refusal(samples(1, {5, 1})), testing::HasSubstr("sample 1 has 1 tokens"));
  EXPECT_THAT(refusal(samples(1, {97})), testing::HasSubstr("the most is 96"));
  EXPECT_THAT(refusal(samples(1, {64, 65})), testing::HasSubstr("a batch of 129 tokens"));
  auto bad = samples(1, {9});
  bad[0].tokens[4] = 100000;
  EXPECT_THAT(refusal(bad), testing::HasSubstr("token 100000"));
  bad = samples(1, {9});
  bad[0].prompt_tokens = 9;
  EXPECT_THAT(refusal(bad), testing::HasSubstr("a prompt of 9"));
  EXPECT_FALSE(t->run());
}

TEST(trainer, does_one_thing_at_a_time_and_abandons_without_a_trace) {
  const auto t = make(), calm = make();
  ASSERT_TRUE(t->begin_batch(some_batch(3)));
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(t->run());
  EXPECT_EQ(errc::conflict, t->begin_batch(some_batch(1)).failure().code);
  EXPECT_EQ(errc::conflict, t->begin_evaluation(some_batch(1), nullptr).failure().code);
  EXPECT_EQ(errc::conflict, t->checkpoint().failure().code);
  EXPECT_EQ(errc::conflict, t->rebase(t->snapshot(), trained_factors::both).failure().code);
  t->abandon();
  EXPECT_FALSE(t->next());
  EXPECT_EQ(run_batch(*calm, some_batch(1)).loss, run_batch(*t, some_batch(1)).loss);
  expect_same_bytes(numbers(*calm), numbers(*t));
}

TEST(trainer, drops_a_batch_that_is_no_number) {
  const auto b = tiny::open_tiny(precision::int8);
  auto wild = small_options();
  wild.learning_rate = 1e30f;
  wild.warmup_steps = 0;
  const auto t = make(wild);
  (void)run_batch(*t, some_batch(1));
  const auto before = numbers(*t);
  training::run_to_optimizer(*t, some_batch(2));
  const auto done = t->run();
  ASSERT_FALSE(done);
  EXPECT_EQ(errc::bad_request, done.failure().code);
  EXPECT_FALSE(t->next());
  EXPECT_EQ(1u, t->steps());
  expect_same_bytes(before, numbers(*t));
}

TEST(trainer, options_and_adapters_that_cannot_be_are_refused) {
  const auto b = tiny::open_tiny(precision::int8);
  const auto parent = tiny::random_adapter(b->shape(), 1);
  const auto refusal = [&](auto&& change, const adapter_ptr& with) {
    auto o = small_options();
    change(o);
    const auto made = make_trainer(b, with, o);
    return made ? std::string() : made.failure().message;
  };
  using testing::HasSubstr;
  EXPECT_THAT(refusal([](auto& o) { o.learning_rate = 0; }, parent), HasSubstr("learning_rate"));
  EXPECT_THAT(refusal([](auto& o) { o.window_tokens = 40; }, parent), HasSubstr("multiple of 16"));
  for (const std::uint32_t rows : {0u, 6u, 4100u})
    EXPECT_THAT(refusal([&](auto& o) { o.head_tokens = rows; }, parent), HasSubstr("head_tokens"));
  EXPECT_THAT(refusal([](auto& o) { o.sample_tokens = 129; }, parent), HasSubstr("sample_tokens"));
  EXPECT_THAT(refusal([](auto& o) { o.schedule = rate_schedule::cosine; }, parent),
              HasSubstr("total_steps"));
  EXPECT_THAT(refusal([](auto& o) { o.beta1 = 1; }, parent), HasSubstr("beta1"));
  auto narrow = std::make_shared<adapter>(*parent);
  narrow->layers[1][2].out = 7;
  EXPECT_THAT(refusal([](auto&) {}, narrow), HasSubstr("layer 1, target v"));
  narrow->layers.pop_back();
  EXPECT_THAT(refusal([](auto&) {}, narrow), HasSubstr("has 1 layers"));
}

TEST(trainer, holds_no_more_than_it_declared) {
  const auto b = tiny::open_tiny(precision::int8);
  auto o = small_options();
  o.prox_mu = 0.1f;
  const auto planned = plan_training(*b, *tiny::random_adapter(b->shape(), 5, 3, 0.1f), o);
  const auto t = make(o);
  EXPECT_EQ(planned.total(), t->declared().total());
  for (const auto& lengths : {std::vector{52u}, std::vector{64u}, std::vector{96u, 20u}}) {
    (void)run_batch(*t, samples(1, lengths));  // what holds the larger one holds no more
    EXPECT_LE(t->used().activations, planned.activations);
  }
  for (std::uint64_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(t->begin_evaluation(samples(i, {96, 96, 30, 5}), t->snapshot()));
    while (t->next()) {
      ASSERT_TRUE(t->run());
      EXPECT_LE(t->used().factors, planned.factors);
      EXPECT_LE(t->used().optimizer, planned.optimizer);
      EXPECT_LE(t->used().activations, planned.activations);
    }
  }
  EXPECT_EQ(planned.activations, t->used().activations);  // a sample of the largest size was there
}

}  // namespace
}  // namespace collm::engine
