#include "gateway/access.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <new>

namespace collm::gateway {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool same_digest(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string bearer_key(const http_request& request) {
  const auto* value = request.header("authorization");
  if (value == nullptr || value->size() < 8 || lower(value->substr(0, 7)) != "bearer ") return {};
  const auto start = value->find_first_not_of(' ', 6);
  return start == std::string::npos ? std::string() : value->substr(start);
}

api_error refused(errc code, std::string message) {
  return api_error::of({code, std::move(message), 0});
}

api_error quota_refusal(std::string message, double wait_ms) {
  auto out = refused(errc::rate_limited, std::move(message));
  out.retry_after_ms =
      static_cast<std::uint32_t>(std::clamp<double>(std::ceil(wait_ms), 1, retry_after_ms_max));
  return out;
}

std::string rate_text(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", rate);
  return text;
}

// Prefix reuse is shared inside a tenant and on every gateway of the cluster, so the salt depends
// on its name alone; a client can neither see nor choose it.
std::uint64_t salt_of(const std::string& tenant_name) {
  std::uint64_t salt = 0;
  const auto hex = sha256_hex("collm cache salt of tenant " + tenant_name);
  std::from_chars(hex.data(), hex.data() + 16, salt, 16);
  return salt;
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  // Fails for want of memory alone; OpenSSL takes its own from malloc.
  if (EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) != 1)
    throw std::bad_alloc();
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += digits[digest[i] >> 4];
    out += digits[digest[i] & 15];
  }
  return out;
}

authenticator::authenticator(std::vector<tenant> tenants, std::string admin_key_sha256,
                             std::uint16_t port, bool tls, bool keys_required)
    : tenants_(std::move(tenants)),
      admin_key_sha256_(lower(admin_key_sha256)),
      port_(std::to_string(port)),
      scheme_(tls ? "https" : "http"),
      keyless_(tenants_.empty() && !keys_required) {
  for (std::size_t i = 0; i < tenants_.size(); ++i) {
    tenants_[i].key_sha256 = lower(tenants_[i].key_sha256);
    const double requests = tenants_[i].requests_per_s, tokens = tenants_[i].tokens_per_s;
    used_.push_back({token_bucket(requests, std::max(1.0, requests)),
                     token_bucket(tokens, std::max(1.0, tokens)),
                     {}});
  }
}

bool authenticator::local_host(std::string_view host) const {
  const std::string usual = scheme_ == "https" ? "443" : "80";
  for (const std::string name : {"localhost", "127.0.0.1", "[::1]"}) {
    if (host == name + ":" + port_ || (port_ == usual && host == name)) return true;
  }
  return false;
}

std::optional<api_error> authenticator::check_local(const http_request& request) const {
  if (!request.from_loopback)
    return refused(errc::forbidden, "without a key only callers on this machine are served");
  const auto* host = request.header("host");
  if (host == nullptr || request.header_count("host") != 1 || !local_host(lower(*host))) {
    return refused(errc::forbidden, "Host must be localhost:" + port_ + ", 127.0.0.1:" + port_ +
                                        " or [::1]:" + port_ + " on a gateway without keys");
  }
  const auto* origin = request.header("origin");
  if (origin != nullptr && lower(*origin) != scheme_ + "://" + lower(*host)) {
    return refused(errc::forbidden,
                   "requests from web pages of another origin are refused; this one is " + scheme_ +
                       "://" + *host);
  }
  const auto* site = request.header("sec-fetch-site");
  if (site != nullptr && lower(*site) == "cross-site")
    return refused(errc::forbidden, "requests from web pages of another site are refused");
  return std::nullopt;
}

// Every key is compared, so that the time says nothing about which one was near.
const tenant* authenticator::find_tenant(const std::string& key) const {
  const auto digest = sha256_hex(key);
  const tenant* found = nullptr;
  for (const auto& t : tenants_) {
    if (same_digest(digest, t.key_sha256)) found = &t;
  }
  return found;
}

std::optional<api_error> authenticator::check(const http_request& request, access_level level,
                                              caller& who) const {
  const auto key = bearer_key(request);
  const bool admin =
      !admin_key_sha256_.empty() && !key.empty() && same_digest(sha256_hex(key), admin_key_sha256_);
  if (admin) {
    who.admin = true;
    return std::nullopt;
  }
  if (level == access_level::admin && !admin_key_sha256_.empty()) {
    return refused(errc::unauthorized,
                   "this path needs the admin key as 'Authorization: Bearer KEY'");
  }
  if (level == access_level::admin || keyless_) return check_local(request);
  if (level == access_level::open) return std::nullopt;
  const tenant* known = key.empty() ? nullptr : find_tenant(key);
  if (known == nullptr) {
    return refused(errc::unauthorized, key.empty()
                                           ? "a key is needed: send 'Authorization: Bearer KEY'"
                                           : "this key is not known here");
  }
  who = {known->name, known->site, known->interactive, salt_of(known->name), false};
  return std::nullopt;
}

authenticator::use* authenticator::use_of(const caller& who) {
  const auto it = std::find_if(tenants_.begin(), tenants_.end(),
                               [&](const tenant& t) { return t.name == who.tenant; });
  return it == tenants_.end() ? nullptr : &used_[static_cast<std::size_t>(it - tenants_.begin())];
}

std::optional<api_error> authenticator::admit(
    const caller& who, clock::time_point now,
    std::vector<std::pair<std::string, std::string>>& limit_headers) {
  use* used = use_of(who);
  if (used == nullptr) return std::nullopt;
  const double request_ms = used->requests.wait_ms(1, now);
  const double tokens_ms = used->tokens.wait_ms(1, now);
  if (request_ms == 0 && tokens_ms == 0) used->requests.charge(1, now);
  const auto tell = [&](token_bucket& bucket, const std::string& what) {
    if (!bucket.bounded()) return;
    const auto whole = [](double x) { return std::to_string(std::uint64_t(std::max(0.0, x))); };
    limit_headers.emplace_back("x-ratelimit-limit-" + what, whole(bucket.most()));
    limit_headers.emplace_back("x-ratelimit-remaining-" + what, whole(bucket.left(now)));
    limit_headers.emplace_back("x-ratelimit-reset-" + what,
                               whole(bucket.wait_ms(bucket.most(), now)) + "ms");
  };
  tell(used->requests, "requests");
  tell(used->tokens, "tokens");
  if (request_ms == 0 && tokens_ms == 0) return std::nullopt;
  const bool tokens = tokens_ms > request_ms;
  return quota_refusal("tenant " + who.tenant + " may " +
                           (tokens ? "use " + rate_text(used->tokens.rate()) + " tokens"
                                   : "send " + rate_text(used->requests.rate()) + " requests") +
                           " a second",
                       std::max(request_ms, tokens_ms));
}

void authenticator::charge(const caller& who, std::uint64_t tokens, clock::time_point now) {
  if (use* used = use_of(who)) used->tokens.charge(static_cast<double>(tokens), now);
}

std::optional<api_error> authenticator::enter(const caller& who, std::uint32_t most) {
  use* used = use_of(who);
  if (used == nullptr) return std::nullopt;
  if (used->open.open() >= most) {
    return quota_refusal("tenant " + who.tenant + " has " + std::to_string(most) +
                             " requests under way at this gateway, as many as one tenant may",
                         used->open.next_end_ms());
  }
  used->open.enter();
  return std::nullopt;
}

void authenticator::leave(const caller& who, clock::duration held) {
  if (use* used = use_of(who)) used->open.leave(held);
}

}  // namespace collm::gateway
