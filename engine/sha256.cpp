#include "engine/sha256.hpp"

#include <openssl/evp.h>

#include "messages/assert.hpp"

namespace collm::engine {
namespace {

EVP_MD_CTX* context(void* p) { return static_cast<EVP_MD_CTX*>(p); }

// Fetched once: EVP_sha256() would be looked up at every start, which costs more than a block.
const EVP_MD* algorithm() {
  static const EVP_MD* const fetched = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  COLLM_ASSERT(fetched != nullptr);
  return fetched;
}

}  // namespace

void sha256::freed::operator()(void* p) const { EVP_MD_CTX_free(context(p)); }

sha256::sha256() : context_(EVP_MD_CTX_new()) {
  COLLM_ASSERT(context_ != nullptr);
  COLLM_ASSERT(EVP_DigestInit_ex2(context(context_.get()), algorithm(), nullptr) == 1);
}

void sha256::add(const void* bytes, std::size_t count) {
  COLLM_ASSERT(EVP_DigestUpdate(context(context_.get()), bytes, count) == 1);
}

void sha256::add_number(std::uint64_t number) { add(&number, sizeof number); }

void sha256::add_text(std::string_view text) {
  add_number(text.size());
  add(text.data(), text.size());
}

sha256::digest sha256::finish() {
  digest out;
  unsigned size = 0;
  COLLM_ASSERT(EVP_DigestFinal_ex(context(context_.get()), out.data(), &size) == 1);
  COLLM_ASSERT(size == out.size());
  COLLM_ASSERT(EVP_DigestInit_ex2(context(context_.get()), nullptr, nullptr) == 1);
  return out;
}

std::string to_hex(const sha256::digest& digest) {
  std::string hex;
  for (const std::uint8_t byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

std::string sha256_hex(std::span<const std::uint8_t> bytes) {
  sha256 hash;
  hash.add(bytes.data(), bytes.size());
  return to_hex(hash.finish());
}

}  // namespace collm::engine
