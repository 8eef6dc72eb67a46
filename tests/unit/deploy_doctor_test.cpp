// The doctor's findings: each problem names its mend.
#include "deploy/doctor.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "link/certificates.hpp"

namespace collm::deploy {
namespace {

/// A port that somebody listens on.
class taken_port {
 public:
  taken_port() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof where;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&where), length), 0);
    EXPECT_EQ(::listen(fd_, 1), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&where), &length);
    port_ = ntohs(where.sin_port);
  }
  ~taken_port() { ::close(fd_); }
  address where() const { return {"127.0.0.1", port_}; }

 private:
  int fd_;
  std::uint16_t port_ = 0;
};

TEST(doctor, tells_a_taken_port_from_a_free_one) {
  address freed;
  {
    const taken_port port;
    freed = port.where();
    const auto tried = try_port(port.where());
    ASSERT_FALSE(tried);
    EXPECT_EQ(tried.failure().code, errc::conflict);
    EXPECT_EQ(tried.failure().message, "Address already in use");
  }
  EXPECT_TRUE(try_port(freed));
  EXPECT_TRUE(try_port({"::1", freed.port}) ||
              try_port({"::1", freed.port}).failure().code == errc::io)
      << "no IPv6 is not a conflict";
}

TEST(doctor, gives_every_problem_of_the_manifest_a_mend) {
  const std::string yaml =
      "apiVersion: collm.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec:\n"
      "  model: {source: smollm2-135m-instruct}\n  nodes:\n"
      "    - {name: n, gateway: {http: 127.0.0.1:8081}}\n";
  const auto all = examine(yaml, "c.yaml", "/tmp", {2, 8ull << 30, "/tmp/no-such-cache"});
  const auto model =
      std::find_if(all.begin(), all.end(), [](const finding& f) { return f.about == "model"; });
  ASSERT_NE(model, all.end());
  EXPECT_EQ(model->how, health::problem);
  EXPECT_EQ(model->mend, "./dev build fetches the catalogue's models");
  const auto broken =
      examine(yaml + "  slo: {ttft: 2}\n  memry: {}\n", "c.yaml", "/tmp", {2, 8ull << 30, "/tmp"});
  const auto problems = std::count_if(broken.begin(), broken.end(),
                                      [](const finding& f) { return f.how == health::problem; });
  EXPECT_EQ(problems, 2);
  for (const finding& f : broken) EXPECT_EQ(f.mend.empty(), f.how == health::good) << f.text;
}

TEST(doctor, looks_at_the_disk_of_a_cache_that_does_not_exist_yet) {
  const auto all = examine("", "c.yaml", "/tmp", {2, 8ull << 30, "/tmp/no/such/cache"});
  EXPECT_TRUE(std::any_of(all.begin(), all.end(), [](const finding& f) {
    return f.about == "disk" && f.how != health::problem &&
           f.text.find("free for the cache") != std::string::npos;
  }));
}

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
  ASSERT_TRUE(link::ensure_certificates(folder_ / "link", "demo", {"edge-a"}));
  EXPECT_EQ(examine_state(plan()).at(0).how, health::good);
  auto other = plan();
  other.cluster = "another";
  EXPECT_EQ(about(examine_state(other), "keys").how, health::problem);
  std::filesystem::permissions(link::node_files(folder_ / "link", "edge-a").key,
                               std::filesystem::perms(0644));
  const auto open = about(examine_state(plan()), "keys");
  EXPECT_EQ(open.how, health::problem);
  EXPECT_FALSE(open.mend.empty());
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
