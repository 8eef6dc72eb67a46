#include "store/digest.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "messages/assert.hpp"

namespace collm::store {

void digest_stream::freed::operator()(void* context) const {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context));
}

digest_stream::digest_stream() : context_(EVP_MD_CTX_new()) {
  auto* c = static_cast<EVP_MD_CTX*>(context_.get());
  COLLM_ASSERT(c != nullptr && EVP_DigestInit_ex(c, EVP_sha256(), nullptr) == 1);
}

void digest_stream::add(std::span<const std::byte> bytes) {
  auto* c = static_cast<EVP_MD_CTX*>(context_.get());
  COLLM_ASSERT(EVP_DigestUpdate(c, bytes.data(), bytes.size()) == 1);
}

std::string digest_stream::finish() {
  constexpr char hex[] = "0123456789abcdef";
  std::array<unsigned char, 32> raw{};
  auto* c = static_cast<EVP_MD_CTX*>(context_.get());
  COLLM_ASSERT(EVP_DigestFinal_ex(c, raw.data(), nullptr) == 1);
  std::string out;
  for (auto byte : raw) {
    out += hex[byte >> 4];
    out += hex[byte & 15];
  }
  return out;
}

std::string digest_of(std::span<const std::byte> bytes) {
  digest_stream d;
  d.add(bytes);
  return d.finish();
}

std::string digest_of(std::string_view text) { return digest_of(std::as_bytes(std::span(text))); }

bool is_digest(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace collm::store
