// The doctor's findings: each problem names its mend.
#include "deploy/doctor.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
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

}  // namespace
}  // namespace collm::deploy
