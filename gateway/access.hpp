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
#include "gateway/quota.hpp"

namespace collm::gateway {

struct tenant {
  std::string name;
  std::string key_sha256;     ///< lower-case hex
  std::string site;           ///< its requests stay there; empty: any
  bool interactive = true;    ///< class; false: batch
  double requests_per_s = 0;  ///< 0: not bounded apart
  double tokens_per_s = 0;    ///< of prompts and answers; 0: not bounded apart
};

/// What a route asks of its caller.
enum class access_level : std::uint8_t { open, user, admin };

/// Who is calling. The keyless caller and the admin have an empty name.
struct caller {
  std::string tenant;
  std::string site;
  bool interactive = true;
  std::uint64_t cache_salt = 0;
  bool admin = false;  ///< came with the admin key
};

class authenticator {
 public:
  using clock = quota_clock;

  /// `port`: the one we listen on, for Host; `tls`: so Origin must say https. With tenants, or with
  /// `keys_required`, every user route needs a key. Admin routes need the admin key; while none is
  /// set, a caller on this machine whose Host and Origin are local.
  authenticator(std::vector<tenant> tenants, std::string admin_key_sha256, std::uint16_t port,
                bool tls = false, bool keys_required = false);

  /// Nothing if the caller may; `who` is filled then.
  std::optional<api_error> check(const http_request& request, access_level level,
                                 caller& who) const;

  /// Takes one request out of the tenant's rate; an error with the time until the next one
  /// otherwise, also while its tokens are overdrawn. `limit_headers` are x-ratelimit-*-requests and
  /// -tokens for a tenant with such a rate.
  std::optional<api_error> admit(const caller& who, clock::time_point now,
                                 std::vector<std::pair<std::string, std::string>>& limit_headers);
  /// Tokens of a prompt that was taken in, or of its answer.
  void charge(const caller& who, std::uint64_t tokens, clock::time_point now);

  /// One more request of this tenant is under way, until leave(); an error if it has `most`.
  std::optional<api_error> enter(const caller& who, std::uint32_t most);
  void leave(const caller& who, clock::duration held);

 private:
  /// What a tenant has taken.
  struct use {
    token_bucket requests, tokens;
    open_requests open;
  };
  use* use_of(const caller& who);
  std::optional<api_error> check_local(const http_request& request) const;
  const tenant* find_tenant(const std::string& key) const;
  bool local_host(std::string_view host) const;

  std::vector<tenant> tenants_;
  std::vector<use> used_;  ///< one a tenant
  std::string admin_key_sha256_;
  std::string port_, scheme_;
  bool keyless_;
};

/// Lower-case hex of SHA-256.
std::string sha256_hex(std::string_view bytes);

}  // namespace collm::gateway
