// P13 on virtual time: what one tenant has asked changes nothing that another can time. Production
// engine, prefix cache and keys; a step takes as long as the rows that it computed.
#include <gtest/gtest.h>

#include "engine/engine.hpp"
#include "gateway/access.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/support/tiny_model.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using testing_support::engine_rig;

/// The tiny model's executor, at a small machine's pace. What the prefix cache gave costs nothing.
class paced_executor final : public engine::executor {
 public:
  explicit paced_executor(std::unique_ptr<engine::executor> steps) : steps_(std::move(steps)) {}
  std::function<void(std::chrono::microseconds)> computes;

  result<std::vector<engine::emission>> step(std::span<const engine::step_work> work) override {
    const auto before = steps_->sequences();
    auto done = steps_->step(work);
    const auto after = steps_->sequences();
    std::uint32_t rows = 0;
    for (const auto& w : work) {
      const auto *was = of(before, w.id), *is = of(after, w.id);
      // One that ended gave its last token.
      rows += is == nullptr
                  ? w.tokens
                  : is->computed - was->computed - (is->cached_tokens - was->cached_tokens);
    }
    computes(6ms + rows * 1700us);
    return done;
  }

  result<void> load(const version_id& v, engine::adapter_ptr w) override {
    return steps_->load(v, std::move(w));
  }
  result<void> unload(const version_id& v) override { return steps_->unload(v); }
  std::vector<version_id> resident() const override { return steps_->resident(); }
  result<void> add(engine::sequence_spec spec) override { return steps_->add(std::move(spec)); }
  void remove(engine::sequence_id id) override { steps_->remove(id); }
  void preempt(engine::sequence_id id) override { steps_->preempt(id); }
  std::uint32_t blocks_needed(engine::sequence_id id, std::uint32_t tokens) const override {
    return steps_->blocks_needed(id, tokens);
  }
  std::vector<engine::sequence_view> sequences() const override { return steps_->sequences(); }
  engine::cache_view cache() const override { return steps_->cache(); }
  engine::memory_view memory() const override { return steps_->memory(); }

 private:
  static const engine::sequence_view* of(const std::vector<engine::sequence_view>& all,
                                         engine::sequence_id id) {
    const auto at = std::find_if(all.begin(), all.end(), [&](const auto& s) { return s.id == id; });
    return at == all.end() ? nullptr : &*at;
  }
  const std::unique_ptr<engine::executor> steps_;
};

/// As a node's gateway gives it to a request of this tenant.
std::uint64_t salt_of(const std::string& tenant) {
  const gateway::authenticator keys({{"cook", gateway::sha256_hex("key of cook"), "kitchen"},
                                     {"waiter", gateway::sha256_hex("key of waiter"), "kitchen"}},
                                    "", 8080);
  gateway::http_request request;
  request.headers = {{"host", "kitchen.example"}, {"authorization", "Bearer key of " + tenant}};
  gateway::caller who;
  EXPECT_FALSE(keys.check(request, gateway::access_level::user, who));
  EXPECT_EQ(who.tenant, tenant);
  return who.cache_salt;
}

/// `common` tokens that are the same whatever `seed`, then others.
std::vector<std::int32_t> prompt(std::uint64_t seed, std::uint32_t common = 0) {
  engine::tiny::random_numbers same(1), own(seed);
  std::vector<std::int32_t> out;
  for (std::uint32_t i = 0; i < 120; ++i)
    out.push_back(static_cast<std::int32_t>(4 + (i < common ? same : own).below(250)));
  return out;
}

struct asked {
  std::vector<std::int32_t> prompt;
  std::string tenant;
};

/// Milliseconds from request to first token and to the last of the second request, sent so long
/// after the first.
std::pair<double, double> times_of_the_second(const asked& first, const asked& second,
                                              std::chrono::milliseconds after) {
  auto made = engine::make_executor(engine::tiny::open_tiny(engine::precision::int8),
                                    {.kv_bytes = 4u << 20, .threads = 1, .sequences_max = 16});
  EXPECT_TRUE(made) << made.failure().message;
  const auto steps = std::make_shared<paced_executor>(std::move(*made));
  engine_rig rig(steps);
  steps->computes = [&](std::chrono::microseconds time) { rig.compute(time); };
  const auto begin = rig.system.now();
  for (const auto& [who, due] : {std::pair(first, begin), std::pair(second, begin + after)}) {
    engine_rig::request r;
    r.prompt = who.prompt;
    r.cache_salt = salt_of(who.tenant);
    rig.coming.emplace_back(due, std::move(r));
  }
  rig.pass(10s);
  EXPECT_EQ(rig.answers.size(), 2u);
  const auto& a = rig.answers[2];
  EXPECT_EQ(a.tokens.size(), 8u);
  const auto ms = [&](auto at) {
    return std::chrono::duration<double, std::milli>(at - a.due).count();
  };
  return {ms(a.first), ms(a.last)};
}

class prefix_timing : public testing::TestWithParam<std::chrono::milliseconds> {};

TEST_P(prefix_timing, p13_of_a_tenant_does_not_depend_on_what_another_has_asked) {
  const asked waiter{prompt(1), "waiter"};
  const auto strange = times_of_the_second({prompt(2), "cook"}, waiter, GetParam());
  for (const std::uint32_t common : {16, 64, 120}) {
    const auto known = times_of_the_second({prompt(2, common), "cook"}, waiter, GetParam());
    EXPECT_EQ(known, strange) << common << " tokens of it were asked by another tenant";
  }
}

// Or the case above could not fail.
TEST_P(prefix_timing, p13_shows_a_tenant_what_it_has_asked_itself) {
  const asked waiter{prompt(1), "waiter"};
  auto last = times_of_the_second({prompt(2), "waiter"}, waiter, GetParam());
  for (const std::uint32_t common : {16, 64, 120}) {
    const auto known = times_of_the_second({prompt(2, common), "waiter"}, waiter, GetParam());
    EXPECT_LT(known.first, last.first) << common;
    EXPECT_LT(known.second, last.second) << common;
    last = known;
  }
}

// While the first is computed, and long after its end.
INSTANTIATE_TEST_SUITE_P(after, prefix_timing, testing::Values(100ms, 5000ms),
                         [](const auto& p) { return std::to_string(p.param.count()) + "ms"; });

}  // namespace
}  // namespace collm
