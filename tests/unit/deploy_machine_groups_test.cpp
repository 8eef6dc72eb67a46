// Folders as the kernel lays them out, in a place of the test's own.
#include "deploy/machine_groups.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/store_folder.hpp"

namespace collm::deploy {
namespace {

constexpr std::uint64_t Mi = 1u << 20;

class control_groups : public store::store_folder {
 protected:
  group_limits limits() const { return limits_of_groups(folder_ / "list", folder_ / "cgroup"); }
  void are(const std::string& list) const { std::ofstream(folder_ / "list") << list; }
  void holds(const std::filesystem::path& file, const std::string& text) const {
    const auto path = folder_ / "cgroup" / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  void expect_none() const {
    EXPECT_EQ(limits().memory_bytes, UINT64_MAX);
    EXPECT_THAT(limits().cores, std::numeric_limits<double>::infinity());
  }
};

TEST_F(control_groups, limit_nothing_where_there_are_none) { expect_none(); }

TEST_F(control_groups, of_a_service_limit_it_and_so_do_those_above) {
  are("0::/system.slice/collm.service\n");
  holds("system.slice/collm.service/memory.max", "1073741824\n");
  holds("system.slice/collm.service/cpu.max", "max 100000\n");
  holds("system.slice/memory.max", "max\n");
  holds("system.slice/cpu.max", "150000 100000\n");
  EXPECT_EQ(limits().memory_bytes, 1024 * Mi);
  EXPECT_DOUBLE_EQ(limits().cores, 1.5);
  holds("system.slice/memory.max", "536870912\n");
  EXPECT_EQ(limits().memory_bytes, 512 * Mi) << "the least of them";
  holds("other.service/memory.max", "4096\n");
  EXPECT_EQ(limits().memory_bytes, 512 * Mi) << "another's is not its own";
}

TEST_F(control_groups, of_a_container_limit_it_from_the_root_that_it_sees) {
  are("0::/\n");
  holds("memory.max", "268435456\n");
  holds("cpu.max", "50000 100000\n");
  EXPECT_EQ(limits().memory_bytes, 256 * Mi);
  EXPECT_DOUBLE_EQ(limits().cores, 0.5);
}

TEST_F(control_groups, of_version_1_have_a_folder_for_each_controller) {
  are("5:cpuacct,cpu:/box\n4:memory:/box/inner\n1:name=systemd:/init.scope\n0::/\n");
  holds("memory/box/inner/memory.limit_in_bytes", "9223372036854771712\n");
  holds("memory/box/memory.limit_in_bytes", "134217728\n");
  holds("cpu/box/cpu.cfs_quota_us", "-1\n");
  holds("cpu/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limits().memory_bytes, 128 * Mi);
  EXPECT_THAT(limits().cores, std::numeric_limits<double>::infinity());
  holds("cpu/box/cpu.cfs_quota_us", "300000\n");
  EXPECT_DOUBLE_EQ(limits().cores, 3);
}

TEST_F(control_groups, whose_names_the_host_gave_are_found_at_the_containers_root) {
  are("4:memory:/docker/1f2e\n");
  holds("memory/memory.limit_in_bytes", "67108864\n");
  EXPECT_EQ(limits().memory_bytes, 64 * Mi);
  holds("memory/docker/memory.limit_in_bytes", "4096\n");
  EXPECT_EQ(limits().memory_bytes, 64 * Mi) << "a group within its own of the same name";
}

TEST_F(control_groups, of_version_2_may_stand_beside_version_1) {
  are("0::/box\n");
  holds("unified/box/memory.max", "67108864\n");
  EXPECT_EQ(limits().memory_bytes, 64 * Mi);
}

TEST_F(control_groups, above_what_is_mounted_are_not_looked_for) {
  are("0::/../box\n");
  holds("../box/memory.max", "4096\n");
  expect_none();
}

TEST_F(control_groups, at_the_root_count_where_the_list_cannot_be_read) {
  holds("memory.max", "67108864\n");
  EXPECT_EQ(limits().memory_bytes, 64 * Mi);
}

TEST_F(control_groups, that_read_as_nonsense_limit_nothing) {
  are("memory\n::\n0::\n");
  holds("memory.max", "99999999999999999999\n");
  holds("memory.limit_in_bytes", "\n");
  holds("cpu.max", "0 0\n");
  expect_none();
}

}  // namespace
}  // namespace collm::deploy
