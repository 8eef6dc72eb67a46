#include "gateway/access.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace collm::gateway {
namespace {

using std::chrono::milliseconds;

http_request from(std::vector<std::pair<std::string, std::string>> headers, bool loopback = true) {
  http_request r;
  r.from_loopback = loopback;
  r.headers = std::move(headers);
  return r;
}

unsigned status_of(const authenticator& a, const http_request& r, access_level level) {
  caller who;
  const auto refused = a.check(r, level, who);
  return refused ? refused->condition.status : 200;
}

constexpr auto every_level = {access_level::open, access_level::user, access_level::admin};

TEST(access, sha256_is_the_standard_one) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(access, keyless_gateway_answers_local_hosts_with_its_own_port_only) {
  const authenticator a({}, "", 8080);
  for (const auto level : every_level) {
    for (const char* host : {"localhost:8080", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080"}) {
      EXPECT_EQ(status_of(a, from({{"host", host}}), level), 200u) << host;
    }
    for (const char* host :
         {"evil.example:8080", "127.0.0.1", "127.0.0.1:8081", "localhost",
          "127.0.0.1:8080.evil.example", "localhost.evil.example:8080", "127.0.0.2:8080", ""}) {
      EXPECT_EQ(status_of(a, from({{"host", host}}), level), 403u) << host;
    }
    EXPECT_EQ(status_of(a, from({}), level), 403u);
    EXPECT_EQ(status_of(a, from({{"host", "localhost:8080"}, {"host", "localhost:8080"}}), level),
              403u);
    EXPECT_EQ(status_of(a, from({{"host", "localhost:8080"}}, false), level), 403u);
  }
  EXPECT_EQ(status_of(authenticator({}, "", 80), from({{"host", "localhost"}}), access_level::open),
            200u);
}

TEST(access, keyless_gateway_refuses_pages_of_other_origins) {
  const authenticator a({}, "", 8080);
  const auto with = [&](const char* origin) {
    return status_of(a, from({{"host", "localhost:8080"}, {"origin", origin}}), access_level::user);
  };
  EXPECT_EQ(with("http://localhost:8080"), 200u);
  for (const char* origin :
       {"http://evil.example", "null", "https://localhost:8080", "http://localhost:8081",
        "http://127.0.0.1:8080", "http://localhost:8080.evil.example", ""}) {
    EXPECT_EQ(with(origin), 403u) << origin;
  }
}

class with_tenants : public testing::Test {
 protected:
  authenticator a{
      {{"acme", sha256_hex("k1"), "kitchen", false, 2}, {"bolt", sha256_hex("k2"), "", true, 0}},
      sha256_hex("root"),
      8080};
  static http_request keyed(const std::string& value) {
    return from({{"host", "any.example"}, {"authorization", value}}, false);
  }
};

TEST_F(with_tenants, a_key_names_tenant_site_class_and_salt) {
  caller acme, bolt;
  EXPECT_FALSE(a.check(keyed("Bearer k1"), access_level::user, acme));
  EXPECT_FALSE(a.check(keyed("bearer k2"), access_level::user, bolt));
  EXPECT_EQ(acme.tenant, "acme");
  EXPECT_EQ(acme.site, "kitchen");
  EXPECT_FALSE(acme.interactive);
  EXPECT_TRUE(bolt.interactive);
  EXPECT_NE(acme.cache_salt, 0u);
  EXPECT_NE(acme.cache_salt, bolt.cache_salt);
}

TEST_F(with_tenants, user_paths_need_a_known_key) {
  for (const char* value :
       {"", "Bearer", "Bearer  ", "Bearer k3", "Basic k1", "k1", "Bearer k1x"}) {
    EXPECT_EQ(status_of(a, keyed(value), access_level::user), 401u) << value;
  }
  EXPECT_EQ(status_of(a, from({{"host", "localhost:8080"}}), access_level::user), 401u);
  EXPECT_EQ(status_of(a, keyed("Bearer k1"), access_level::user), 200u);
  EXPECT_EQ(status_of(a, from({{"host", "probe.example"}}, false), access_level::open), 200u);
}

TEST_F(with_tenants, admin_paths_need_the_admin_key) {
  EXPECT_EQ(status_of(a, keyed("Bearer root"), access_level::admin), 200u);
  EXPECT_EQ(status_of(a, keyed("Bearer k1"), access_level::admin), 401u);
  EXPECT_EQ(status_of(a, from({{"host", "localhost:8080"}}), access_level::admin), 401u);
}

TEST(access, without_an_admin_key_admin_paths_are_for_local_callers) {
  const authenticator a({{"acme", sha256_hex("k1"), "", true, 0}}, "", 8080);
  EXPECT_EQ(status_of(a, from({{"host", "localhost:8080"}}), access_level::admin), 200u);
  EXPECT_EQ(status_of(a, from({{"host", "evil.example:8080"}}), access_level::admin), 403u);
  EXPECT_EQ(status_of(a, from({{"host", "localhost:8080"}, {"authorization", "Bearer k1"}}, false),
                      access_level::admin),
            403u);
}

TEST_F(with_tenants, rate_is_a_bucket_with_an_exact_wait) {
  const caller acme{"acme", "kitchen", false, 1};
  const auto start = authenticator::clock::time_point{} + std::chrono::hours(1);
  std::vector<std::pair<std::string, std::string>> headers;
  EXPECT_FALSE(a.admit(acme, start, headers));
  EXPECT_THAT(headers, testing::ElementsAre(testing::Pair("x-ratelimit-limit-requests", "2"),
                                            testing::Pair("x-ratelimit-remaining-requests", "1"),
                                            testing::Pair("x-ratelimit-reset-requests", "500ms")));
  EXPECT_FALSE(a.admit(acme, start, headers));
  const auto refused = a.admit(acme, start, headers);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->condition.status, 429u);
  EXPECT_EQ(refused->retry_after_ms, 500u);
  EXPECT_TRUE(a.admit(acme, start + milliseconds(400), headers));
  EXPECT_FALSE(a.admit(acme, start + milliseconds(500), headers));
  EXPECT_TRUE(a.admit(acme, start + milliseconds(501), headers));
}

TEST_F(with_tenants, who_has_no_rate_is_never_held_up) {
  std::vector<std::pair<std::string, std::string>> headers;
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(a.admit({"bolt", "", true, 1}, {}, headers));
  EXPECT_FALSE(a.admit({}, {}, headers));
  EXPECT_TRUE(headers.empty());
}

}  // namespace
}  // namespace collm::gateway
