// PAINS.md P6: many promotions in one life. What a version held is free once its last request
// ended.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "tests/support/serving_rig.hpp"

namespace collm {
namespace {

using namespace std::chrono_literals;
using testing_support::rig_options;
using testing_support::serving_rig;

constexpr std::size_t version_bytes = 1u << 20;
constexpr int promotions = 1000, warm_up = 100;

std::uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::uint64_t total = 0, resident = 0;
  in >> total >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// Folders of factors that are really there: 1 MiB each, and counted.
struct heavy_folders {
  std::shared_ptr<int> alive = std::make_shared<int>(0);
  result<engine::adapter_ptr> read(const std::string& folder) const {
    ++*alive;
    auto* a = new engine::adapter();
    a->digest = std::filesystem::path(folder).filename().string();
    a->rank_max = 8;
    a->bytes = version_bytes;
    a->layers.resize(1);
    a->layers[0][0].a.assign(version_bytes / sizeof(float), 1.0f);
    return engine::adapter_ptr(a, [alive = alive](const engine::adapter* of) {
      --*alive;
      delete of;
    });
  }
};

TEST(promotions, p6_a_thousand_leave_no_version_and_no_memory_behind) {
  const heavy_folders folders;
  rig_options o;
  o.read_adapter = [&](const std::string& folder) { return folders.read(folder); };
  serving_rig rig(std::move(o));
  std::uint64_t warm = 0;
  int most_alive = 0;
  for (int i = 1; i <= promotions; ++i) {
    const auto pinned = rig.send("assistant", {1, 2}, 200);
    rig.system.pass(20ms);
    rig.load("/adapters/v" + std::to_string(i));
    rig.system.pass(1s);
    const auto after = rig.send("assistant", {1, 2}, 2);
    rig.system.pass(1s);
    ASSERT_EQ(rig.answers[pinned].version, static_cast<std::uint32_t>(i - 1)) << i;
    ASSERT_EQ(rig.answers[pinned].finished, 1u) << i;
    ASSERT_EQ(rig.answers[after].version, static_cast<std::uint32_t>(i)) << i;
    most_alive = std::max(most_alive, *folders.alive);
    rig.answers.clear();
    rig.bridges.clear();
    if (i == warm_up) warm = resident_bytes();
  }
  EXPECT_LE(most_alive, 3) << "one serves, one drains, one comes";
  EXPECT_LE(*folders.alive, 2);
  EXPECT_EQ(rig.executor->resident().size(), 1u);
  const auto grown = static_cast<double>(resident_bytes()) - static_cast<double>(warm);
  // One kept in thirty would be seen; rows of the registry and events take their little.
  EXPECT_LT(grown, 30.0 * version_bytes) << "after " << warm_up << " promotions: " << warm;
  std::printf("%d promotions: %.1f MiB more than after %d\n", promotions, grown / (1 << 20),
              warm_up);
}

}  // namespace
}  // namespace collm
