// The doctor's findings: each problem names its mend.
#include "deploy/doctor.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

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

// What the doctor says of a manifest of a tiny model, on a machine of two cores with memory to
// plan.
class doctor_of_a_machine : public testing::Test {
 protected:
  static finding about(const std::string& what, const std::string& node, const std::string& more) {
    const std::string yaml =
        "apiVersion: collm.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec:\n"
        "  model: {source: " COLLM_SOURCE_DIR
        "/tests/golden/data/llama_folder/model}\n  nodes:\n"
        "    - {name: n, gateway: {http: 127.0.0.1:8081}, " +
        node + "}\n" + more;
    const auto all = examine(yaml, "c.yaml", "/tmp", {2, 1ull << 60, "/tmp"});
    const auto found = std::ranges::find(all, what, &finding::about);
    return found == all.end() ? finding{} : *found;
  }
};

TEST_F(doctor_of_a_machine, names_threads_beyond_the_cores_as_the_manifests_problem) {
  EXPECT_EQ(about("cores", "threads: 2", "").how, health::good);
  EXPECT_EQ(about("cores", "threads: 2", "").text, "2 cores, 2 engine threads");
  const auto many = about("manifest", "threads: 3", "");
  EXPECT_EQ(many.how, health::problem);
  EXPECT_NE(many.text.find("lower threads or replicas"), std::string::npos) << many.text;
}

TEST_F(doctor_of_a_machine, warns_of_a_limit_on_open_files) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 500;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto low = about("files", "threads: 1", "");
  const auto enough = about("files", "threads: 1", "  limits: {connections: 200}\n");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(low.how, health::warning);
  EXPECT_EQ(low.mend, "ulimit -n 768, or lower limits.connections");
  EXPECT_EQ(enough.how, health::good) << enough.text;
}

TEST(doctor, tells_file_systems_apart_by_what_becomes_of_a_state_there) {
  struct {
    long magic;
    health how;
  } const table[] = {{TMPFS_MAGIC, health::warning},
                     {NFS_SUPER_MAGIC, health::problem},
                     {CIFS_SUPER_MAGIC, health::problem},
                     {SMB2_SUPER_MAGIC, health::problem}};
  for (const auto& row : table) {
    const auto found = wrong_file_system("/srv/state", row.magic);
    ASSERT_TRUE(found) << std::hex << row.magic;
    EXPECT_EQ(found->how, row.how) << found->text;
    EXPECT_NE(found->mend.find("head.stateDir"), std::string::npos) << found->mend;
  }
  const long local_disks[] = {EXT4_SUPER_MAGIC, BTRFS_SUPER_MAGIC, XFS_SUPER_MAGIC};
  for (const long local : local_disks)
    EXPECT_FALSE(wrong_file_system("/srv/state", local)) << std::hex << local;
}

TEST(doctor, warns_of_a_processor_without_the_kernels_that_are_fast) {
  const auto slow = judged({"portable", 30, 12, 0.1});
  EXPECT_EQ(slow.how, health::warning);
  EXPECT_NE(slow.mend.find("neither AVX2 nor AVX-512"), std::string::npos);
  const auto fast = judged({"avx2", 300, 80, 0.1});
  EXPECT_EQ(fast.how, health::good);
  EXPECT_EQ(fast.text,
            "avx2: about 300 tokens/s read, 80 tokens/s written, one thread, one request");
}

}  // namespace
}  // namespace collm::deploy
