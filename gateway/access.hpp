// Who may call: keys of tenants and of the admin, and on keyless loopback the checks that keep web
// pages of other origins out (DNS rebinding, CSRF). Pure but for the digest; the gateway's Asio
// thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/api_error.hpp"
#include "gateway/http_message.hpp"

namespace collm::gateway {

struct tenant {
  std::string name;
  std::string key_sha256;     ///< lower-case hex
  std::string site;           ///< its requests stay there; empty: any
  bool interactive = true;    ///< class; false: batch
  double requests_per_s = 0;  ///< 0: not bounded apart
};

/// What a route asks of its caller.
enum class access_level : std::uint8_t { open, user, admin };

/// Who is calling. The keyless caller has an empty name.
struct caller {
  std::string tenant;
  std::string site;
  bool interactive = true;
  std::uint64_t cache_salt = 0;
};

class authenticator {
 public:
  using clock = std::chrono::steady_clock;

  /// `port`: the one we listen on, for Host. With tenants every user route needs a key. Admin
  /// routes need the admin key; while none is set, a caller on this machine whose Host and Origin
  /// are local.
  authenticator(std::vector<tenant> tenants, std::string admin_key_sha256, std::uint16_t port);

  /// Nothing if the caller may; `who` is filled then.
  std::optional<api_error> check(const http_request& request, access_level level,
                                 caller& who) const;

  /// Takes one request out of the tenant's rate; an error with the time until the next one
  /// otherwise. `limit_headers` are x-ratelimit-*-requests for a tenant with a rate.
  std::optional<api_error> admit(const caller& who, clock::time_point now,
                                 std::vector<std::pair<std::string, std::string>>& limit_headers);

 private:
  struct bucket {
    double tokens = 0;
    clock::time_point filled{};
  };
  std::optional<api_error> check_local(const http_request& request) const;
  const tenant* find_tenant(const std::string& key) const;
  bool local_host(std::string_view host) const;

  std::vector<tenant> tenants_;
  std::vector<bucket> buckets_;  ///< one a tenant
  std::string admin_key_sha256_;
  std::string port_;
};

/// Lower-case hex of SHA-256.
std::string sha256_hex(std::string_view bytes);

}  // namespace collm::gateway
