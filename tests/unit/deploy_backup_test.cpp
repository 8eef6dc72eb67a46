// A head's state that comes back trusts nobody whom the head had put out since.
#include <gtest/gtest.h>

#include "deploy/state_backup.hpp"
#include "link/authority.hpp"
#include "store/version_store.hpp"
#include "tests/support/store_folder.hpp"

namespace collm::deploy {
namespace {

constexpr const char* manifest =
    "apiVersion: collm.dev/v1alpha1\nkind: Cluster\nmetadata: {name: demo}\nspec:\n"
    "  model: {source: /models/x.gguf}\n"
    "  head: {stateDir: state, enrol: 127.0.0.1:8098}\n"
    "  nodes:\n"
    "    - {name: edge-a, site: kitchen, gateway: {http: 127.0.0.1:8081}}\n"
    "    - {name: edge-c, site: yard, placement: remote, gateway: {http: 127.0.0.1:8082}}\n";

class head_backup : public store::store_folder {
 protected:
  std::shared_ptr<link::authority> members_in(const std::filesystem::path& state) const {
    auto opened = link::authority::open(state / "link",
                                        {{"edge-a", {"kitchen"}}, {"edge-c", {"yard", true}}});
    EXPECT_TRUE(opened) << opened.failure().message;
    return *opened;
  }
};

TEST_F(head_backup, un_revokes_nobody) {
  const auto state = folder_ / "state", kept = folder_ / "kept", fresh = folder_ / "fresh";
  std::filesystem::create_directories(state);
  ASSERT_TRUE(store::open_version_store(state / "registry.db"));
  ASSERT_TRUE(link::ensure_certificates(state / "link", "demo", {{"edge-a", "kitchen"}}));
  write(state / "cluster.yaml", manifest);
  members_in(state);
  append(state / "link/nodes.txt", "edge-c yard accepted 0123456789abcdef 0\n");
  ASSERT_TRUE(back_up_head(state, kept));
  auto running = members_in(state);
  ASSERT_TRUE(running->admits("edge-c", "yard", "0123456789abcdef"));
  ASSERT_TRUE(running->revoke("edge-c"));

  const auto made = restore_head(kept, fresh);
  ASSERT_TRUE(made) << made.failure().message;
  EXPECT_EQ(made->join_anew, std::vector<std::string>{"edge-c"});
  const auto again = members_in(fresh);
  EXPECT_FALSE(again->admits("edge-c", "yard", "0123456789abcdef"));
  const auto own = link::certificate_id(link::node_files(fresh / "link", "edge-a").certificate);
  ASSERT_TRUE(own) << own.failure().message;
  EXPECT_TRUE(again->admits("edge-a", "kitchen", *own)) << "its key came back with the head";
}

}  // namespace
}  // namespace collm::deploy
