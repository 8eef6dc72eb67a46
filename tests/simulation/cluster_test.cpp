// The simulated cluster: production actors of up to eight nodes and a head, in an order and under
// faults that follow from a seed, with every law checked after every turn. `./dev simtest SEED`
// replays one; COLLM_SIM_SEEDS (FIRST-LAST or one) and `./dev nightly` run more.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "tests/simulation/cluster/cluster.hpp"
#include "tests/simulation/cluster/law_names.hpp"

namespace collm {
namespace {

namespace law = simulation::law;
using simulation::outcome;
using simulation::run_seed;
using simulation::sabotage;

/// In memory where there is such a file system: durable calls are many, and what is tested is their
/// order.
std::filesystem::path folder() {
  const std::filesystem::path memory = "/dev/shm";
  const auto root = std::filesystem::is_directory(memory) && access(memory.c_str(), W_OK) == 0
                        ? memory
                        : std::filesystem::temp_directory_path();
  return root / ("collm-simulation-" + std::to_string(::getpid()));
}

std::string line_of(const outcome& o) {
  char hash[32];
  std::snprintf(hash, sizeof hash, "%016llx", static_cast<unsigned long long>(o.hash));
  std::string out = "seed " + std::to_string(o.seed) + ": event hash " + hash + ", " +
                    std::to_string(o.turns) + " turns;";
  for (const auto& [how, n] : o.endings) out += " " + std::to_string(n) + " " + how;
  for (const auto& [what, n] : o.seen) out += ", " + std::to_string(n) + " " + what;
  return out;
}

outcome expect_lawful(std::uint64_t seed) {
  const auto o = run_seed(seed, folder());
  EXPECT_TRUE(o.broken_law.empty()) << o.report;
  return o;
}

TEST(a_simulated_cluster, keeps_every_law_under_fifty_seeds) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) expect_lawful(seed);
}

/// Each was mended in a commit that names it.
TEST(a_simulated_cluster, keeps_every_law_under_seeds_that_once_broke_a_law) {
  constexpr std::uint64_t seeds_that_once_broke_a_law[] = {96, 243, 320, 390};
  for (const auto seed : seeds_that_once_broke_a_law) expect_lawful(seed);
}

TEST(a_simulated_cluster, is_the_same_twice) {
  for (const std::uint64_t seed : {3u, 14u}) {
    const auto first = expect_lawful(seed), second = expect_lawful(seed);
    EXPECT_EQ(first.hash, second.hash) << seed;
    EXPECT_EQ(first.turns, second.turns) << seed;
  }
  EXPECT_NE(expect_lawful(3).hash, expect_lawful(4).hash);
}

/// Something that a test breaks in the rig, and the law that must tell.
struct breakage {
  const char* name;
  sabotage what;
  const char* law;
};
void PrintTo(const breakage& b, std::ostream* out) { *out << b.name; }

class what_is_broken_on_purpose : public testing::TestWithParam<breakage> {};

TEST_P(what_is_broken_on_purpose, is_told_by_its_law) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const auto o = run_seed(seed, folder(), GetParam().what);
    if (!o.sabotaged || o.broken_law.empty()) continue;  // not reached, or where it did no harm
    EXPECT_EQ(o.broken_law, GetParam().law) << o.report;
    return;
  }
  FAIL() << "no law tells";
}

INSTANTIATE_TEST_SUITE_P(
    each, what_is_broken_on_purpose,
    testing::Values(breakage{"a_chunk_delivered_twice", sabotage::double_chunk, law::sequence},
                    breakage{"a_finish_lost", sabotage::lost_finish, law::progress},
                    breakage{"a_finish_told_twice", sabotage::double_finish, law::once},
                    breakage{"a_token_of_another_version", sabotage::foreign_token,
                             law::one_version},
                    breakage{"a_pin_not_released", sabotage::kept_pin, law::pins},
                    breakage{"a_sequence_not_removed", sabotage::kept_sequence, law::blocks},
                    breakage{"a_queue_without_bound", sabotage::long_queue, law::bounds},
                    breakage{"a_message_nobody_knows", sabotage::stray_message, law::meters},
                    breakage{"a_number_given_again", sabotage::reused_number, law::numbers},
                    breakage{"two_that_serve", sabotage::two_serving, law::one_serves},
                    breakage{"a_record_lost", sabotage::forgetful_journal, law::durable},
                    breakage{"an_update_counted_twice", sabotage::double_update, law::counts},
                    breakage{"a_sum_of_something_else", sabotage::other_sum, law::sum}),
    [](const auto& info) { return info.param.name; });

/// What ./dev simtest and ./dev nightly ask for.
TEST(a_simulated_cluster, replays_the_seeds_that_were_asked_for) {
  const char* asked = std::getenv("COLLM_SIM_SEEDS");
  if (asked == nullptr) GTEST_SKIP() << "COLLM_SIM_SEEDS names none";
  char* end = nullptr;
  const auto first = std::strtoull(asked, &end, 10);
  const auto last = *end == '-' ? std::strtoull(end + 1, &end, 10) : first;
  ASSERT_TRUE(end != asked && *end == '\0' && first <= last)
      << "COLLM_SIM_SEEDS=" << asked << ": a number, or FIRST-LAST, would be right";
  for (auto seed = first; seed <= last; ++seed)
    std::printf("%s\n", line_of(expect_lawful(seed)).c_str());
}

}  // namespace
}  // namespace collm
