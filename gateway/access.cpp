#include "gateway/access.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "messages/assert.hpp"

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
  COLLM_ASSERT(EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) == 1);
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += digits[digest[i] >> 4];
    out += digits[digest[i] & 15];
  }
  return out;
}

authenticator::authenticator(std::vector<tenant> tenants, std::string admin_key_sha256,
                             std::uint16_t port)
    : tenants_(std::move(tenants)),
      buckets_(tenants_.size()),
      admin_key_sha256_(lower(admin_key_sha256)),
      port_(std::to_string(port)) {
  for (std::size_t i = 0; i < tenants_.size(); ++i) {
    tenants_[i].key_sha256 = lower(tenants_[i].key_sha256);
    buckets_[i].tokens = std::max(1.0, tenants_[i].requests_per_s);
  }
}

bool authenticator::local_host(std::string_view host) const {
  for (const std::string name : {"localhost", "127.0.0.1", "[::1]"}) {
    if (host == name + ":" + port_ || (port_ == "80" && host == name)) return true;
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
  if (origin != nullptr && lower(*origin) != "http://" + lower(*host)) {
    return refused(
        errc::forbidden,
        "requests from web pages of another origin are refused; this one is http://" + *host);
  }
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
  if (admin) return std::nullopt;
  if (level == access_level::admin && !admin_key_sha256_.empty()) {
    return refused(errc::unauthorized,
                   "this path needs the admin key as 'Authorization: Bearer KEY'");
  }
  if (level == access_level::admin || tenants_.empty()) return check_local(request);
  if (level == access_level::open) return std::nullopt;
  const tenant* known = key.empty() ? nullptr : find_tenant(key);
  if (known == nullptr) {
    return refused(errc::unauthorized, key.empty()
                                           ? "a key is needed: send 'Authorization: Bearer KEY'"
                                           : "this key is not known here");
  }
  who = {known->name, known->site, known->interactive, salt_of(known->name)};
  return std::nullopt;
}

std::optional<api_error> authenticator::admit(
    const caller& who, clock::time_point now,
    std::vector<std::pair<std::string, std::string>>& limit_headers) {
  const auto it = std::find_if(tenants_.begin(), tenants_.end(),
                               [&](const tenant& t) { return t.name == who.tenant; });
  if (it == tenants_.end() || it->requests_per_s <= 0) return std::nullopt;
  const double rate = it->requests_per_s, most = std::max(1.0, rate);
  bucket& b = buckets_[static_cast<std::size_t>(it - tenants_.begin())];
  if (b.filled != clock::time_point{}) {
    b.tokens =
        std::min(most, b.tokens + rate * std::chrono::duration<double>(now - b.filled).count());
  }
  b.filled = now;
  const bool granted = b.tokens >= 1;
  if (granted) b.tokens -= 1;
  const auto full_ms = static_cast<std::uint64_t>(std::ceil((most - b.tokens) / rate * 1000));
  limit_headers.emplace_back("x-ratelimit-limit-requests",
                             std::to_string(static_cast<std::uint64_t>(most)));
  limit_headers.emplace_back("x-ratelimit-remaining-requests",
                             std::to_string(static_cast<std::uint64_t>(b.tokens)));
  limit_headers.emplace_back("x-ratelimit-reset-requests", std::to_string(full_ms) + "ms");
  if (granted) return std::nullopt;
  const double wait_ms = std::ceil((1 - b.tokens) / rate * 1000);
  auto out = refused(errc::rate_limited, "tenant " + it->name + " may send " +
                                             std::to_string(rate) + " requests a second");
  out.retry_after_ms = static_cast<std::uint32_t>(std::min<double>(wait_ms, retry_after_ms_max));
  return out;
}

}  // namespace collm::gateway
