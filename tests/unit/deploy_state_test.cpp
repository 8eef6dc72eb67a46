// What the doctor finds in the folders of a plan.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "deploy/doctor.hpp"
#include "deploy/private_folder.hpp"
#include "link/certificates.hpp"
#include "link/x509.hpp"

namespace collm::deploy {
namespace {

class doctor_state : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  spawn_plan plan() const {
    spawn_plan p;
    p.cluster = "demo";
    p.head.state_dir = folder_;
    p.base_dir = folder_;
    p.nodes.resize(1);
    p.nodes[0].name = "edge-a";
    return p;
  }
  /// What is wrong about this, by what is said first.
  static finding about(const std::vector<finding>& all, const std::string& what) {
    const auto found = std::ranges::find_if(
        all, [&](const finding& f) { return f.about == what && f.how != health::good; });
    return found == all.end() ? finding{} : *found;
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("collm-doctor-" + std::to_string(::getpid()));
};

TEST_F(doctor_state, says_nothing_bad_of_what_is_not_made_yet) {
  const auto all = examine_state(plan());
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].how, health::good);
}

TEST_F(doctor_state, finds_keys_of_another_cluster_and_keys_that_others_may_read) {
  ASSERT_TRUE(keep_private(folder_));
  ASSERT_TRUE(link::ensure_certificates(folder_ / "link", "demo", {{"edge-a", "kitchen"}}));
  EXPECT_EQ(examine_state(plan()).at(0).how, health::good);
  auto other = plan();
  other.cluster = "another";
  EXPECT_EQ(about(examine_state(other), "keys").how, health::problem);
  std::filesystem::permissions(link::node_files(folder_ / "link", "edge-a").key,
                               std::filesystem::perms(0644));
  const auto open = about(examine_state(plan()), "keys");
  EXPECT_EQ(open.how, health::problem);
  EXPECT_EQ(open.mend, "chmod 600 " + link::node_files(folder_ / "link", "edge-a").key.string());
}

TEST_F(doctor_state, has_one_head_at_a_time) {
  EXPECT_EQ(state_lock::take(folder_).failure().code, errc::io) << "it is not made yet";
  ASSERT_TRUE(keep_private(folder_));
  {
    const auto head = state_lock::take(folder_);
    ASSERT_TRUE(head) << head.failure().message;
    const auto other = state_lock::take(folder_);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.failure().code, errc::conflict);
    EXPECT_NE(other.failure().message.find(folder_.string()), std::string::npos);
  }
  EXPECT_TRUE(state_lock::take(folder_)) << "the one before has ended";
}

TEST_F(doctor_state, finds_that_the_clock_is_before_or_behind_what_the_keys_are_good_for) {
  ASSERT_TRUE(keep_private(folder_));
  ASSERT_TRUE(link::ensure_certificates(folder_ / "link", "demo", {{"edge-a", "kitchen"}}));
  const auto files = link::node_files(folder_ / "link", "edge-a");
  const auto key = link::x509::load_key(files.key);
  struct {
    long begins_s, ends_s;
    const char* text;
  } const table[] = {{86400, 2 * 86400, "is not valid yet; check this machine's clock"},
                     {-2 * 86400, -86400, "has expired"}};
  for (const auto& row : table) {
    const auto made = link::x509::load_certificate(files.certificate);
    ASSERT_TRUE(key && made);
    X509_gmtime_adj(X509_getm_notBefore(made->get()), row.begins_s);
    X509_gmtime_adj(X509_getm_notAfter(made->get()), row.ends_s);
    ASSERT_GT(X509_sign(made->get(), key->get(), EVP_sha256()), 0);
    ASSERT_TRUE(link::x509::write_file(files.certificate, *link::x509::to_pem(made->get()), 0600));
    const auto found = about(examine_state(plan()), "keys");
    EXPECT_EQ(found.how, health::problem);
    EXPECT_NE(found.text.find(row.text), std::string::npos) << found.text;
    EXPECT_TRUE(found.mend.starts_with("set the clock if it is wrong")) << found.mend;
  }
}

TEST_F(doctor_state, finds_a_state_that_other_users_may_read) {
  std::filesystem::create_directories(folder_);
  std::filesystem::permissions(folder_, std::filesystem::perms(0755));
  EXPECT_EQ(about(examine_state(plan()), "access").how, health::warning);
  ASSERT_TRUE(keep_private(folder_));
  EXPECT_TRUE(about(examine_state(plan()), "access").about.empty());
  std::ofstream(folder_ / "written") << "later";
  EXPECT_EQ(std::filesystem::status(folder_ / "written").permissions(),
            std::filesystem::perms(0600));
}

TEST_F(doctor_state, finds_a_gateway_without_its_certificate) {
  auto p = plan();
  p.nodes[0].tls = tls_spec{(folder_ / "no.crt").string(), (folder_ / "no.key").string()};
  const auto found = about(examine_state(p), "tls");
  EXPECT_EQ(found.how, health::problem);
  EXPECT_NE(found.text.find("gateway of edge-a"), std::string::npos) << found.text;
}

TEST_F(doctor_state, finds_a_damaged_database) {
  std::filesystem::create_directories(folder_);
  std::ofstream(folder_ / "rounds.db") << std::string(9000, 'x');
  const auto found = about(examine_state(plan()), "state");
  EXPECT_EQ(found.how, health::problem);
  EXPECT_NE(found.text.find("rounds.db"), std::string::npos);
}

TEST_F(doctor_state, finds_data_that_cannot_be_read_and_a_site_without_any) {
  auto p = plan();
  p.nodes[0].data = "absent.jsonl";
  EXPECT_EQ(about(examine_state(p), "data").how, health::problem);
  p.nodes[0].data.clear();
  EXPECT_EQ(about(examine_state(p), "data").how, health::good);
  p.federation.resize(1);
  EXPECT_EQ(about(examine_state(p), "data").how, health::warning);
}

TEST_F(doctor_state, finds_a_state_that_lies_in_memory) {
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "no /dev/shm on this machine";
  auto p = plan();
  p.head.state_dir = "/dev/shm";
  EXPECT_EQ(about(examine_state(p), "disk").how, health::warning);
}

}  // namespace
}  // namespace collm::deploy
