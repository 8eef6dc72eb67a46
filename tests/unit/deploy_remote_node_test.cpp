// What a node elsewhere is given to run, and how its folder numbers its starts.
#include "deploy/remote_node.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

#include "deploy/manifest.hpp"

namespace collm::deploy {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string key_a(64, 'a'), key_b(64, 'b'), key_of_admin(64, 'c');

std::string cluster() {
  return "apiVersion: collm.dev/v1alpha1\nkind: Cluster\nmetadata: {name: test}\nspec:\n"
         "  model: {source: /models/x.gguf}\n"
         "  head: {stateDir: /var/lib/collm, enrol: 127.0.0.1:8098}\n"
         "  nodes:\n"
         "    - {name: edge-a, site: kitchen, data: /secret/kitchen, gateway: {http: "
         "127.0.0.1:8081}}\n"
         "    - {name: edge-c, site: yard, placement: remote, data: /data/yard, gateway: {http: "
         "127.0.0.1:8081}}\n"
         "  tenants:\n"
         "    - {name: cook, site: kitchen, keySha256: " +
         key_a + "}\n    - {name: farmer, site: yard, keySha256: " + key_b +
         "}\n  admin: {keySha256: " + key_of_admin + "}\n";
}

class remote_folder : public ::testing::Test {
 protected:
  remote_folder() : path(fs::temp_directory_path() / ("collm-remote-" + std::to_string(getpid()))) {
    fs::create_directories(path / "link");
  }
  ~remote_folder() override { fs::remove_all(path); }
  const fs::path path;
};

TEST(remote_manifest,
     names_no_admin_key_no_other_sites_tenants_and_data_and_keeps_its_state_at_hand) {
  const auto text = manifest_for(cluster(), "edge-c");
  ASSERT_TRUE(text) << text.failure().message;
  EXPECT_THAT(*text, Not(HasSubstr("/secret/kitchen")));
  EXPECT_THAT(*text, Not(HasSubstr(key_a)));
  EXPECT_THAT(*text, Not(HasSubstr(key_of_admin)));
  const auto read = parse_manifest(*text);
  ASSERT_TRUE(read.value) << to_string(read.problems[0], "cluster.yaml") << *text;
  EXPECT_EQ(read.value->head.state_dir, ".");
  ASSERT_EQ(read.value->nodes.size(), 2u) << "a quorum counts them all";
  EXPECT_EQ(read.value->nodes[1].data, "/data/yard");
  ASSERT_EQ(read.value->tenants.size(), 1u);
  EXPECT_EQ(read.value->tenants[0].name, "farmer");
}

TEST_F(remote_folder, numbers_every_start_above_all_before_whatever_the_clock_says) {
  const auto first = next_incarnation(path), second = next_incarnation(path);
  ASSERT_TRUE(first && second);
  EXPECT_GT(*second, *first);
  const std::uint64_t later = *second + (1ull << 40);  // the clock was ahead then
  std::ofstream(path / "incarnation", std::ios::trunc) << later;
  EXPECT_EQ(*next_incarnation(path), later + 1);
  fs::remove(path / "incarnation");  // restored from a backup: the clock alone does, in seconds
  EXPECT_GE(*next_incarnation(path), *first);
}

TEST_F(remote_folder, without_a_heads_address_says_how_to_join) {
  const auto address = head_address(path);
  ASSERT_FALSE(address);
  EXPECT_THAT(address.failure().message, HasSubstr("collm node --join TOKEN"));
  std::ofstream(path / "link" / "head.address") << "head.example.org:8099\n";
  EXPECT_EQ(*head_address(path), "head.example.org:8099");
}

TEST(remote_address, sets_ipv6_in_brackets) {
  EXPECT_EQ(host_in_address("::1"), "[::1]");
  EXPECT_EQ(host_in_address("head.example.org"), "head.example.org");
}

}  // namespace
}  // namespace collm::deploy
