// Keys, certificates and requests as OpenSSL has them, and their files: what certificates, the
// authority and enrolment are made of. Inside link/ only; any thread.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "messages/result.hpp"

namespace collm::link::x509 {

template <auto Free>
struct freed {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
using key_ptr = std::unique_ptr<EVP_PKEY, freed<EVP_PKEY_free>>;
using cert_ptr = std::unique_ptr<X509, freed<X509_free>>;
using bio_ptr = std::unique_ptr<BIO, freed<BIO_free_all>>;

struct identity {
  key_ptr key;
  cert_ptr certificate;
};

/// What a certificate is for; decides its extensions and its life.
enum class role { authority, head, node };

struct subject {
  role as;
  std::string common_name;
  std::vector<std::string> names;  ///< subject alternative names beside it, DNS
  long life_s = 0;                 ///< 0: as long as its role has
  std::string id;                  ///< of a node's: stands in its common name, too
};

/// What OpenSSL says went wrong, behind `what`.
error openssl_error(const std::string& what);

result<key_ptr> make_key();  ///< EC P-256
/// A certificate for `key`; `signer` null: signs itself with it.
result<cert_ptr> make_certificate(const subject& of, EVP_PKEY* key, const identity* signer);
/// A fresh key with its certificate.
result<identity> make_identity(const subject& of, const identity* signer);

/// PKCS #10, DER: proves that we hold `key`; its subject is empty, the authority names who asks.
result<std::string> make_request(EVP_PKEY* key);
/// The key of such a request, P-256 and signed by itself; anything else is a bad_request.
result<key_ptr> key_of_request(std::string_view der);

/// Without what makes it one certificate among others of its node; empty: none.
std::string common_name_of(X509* certificate);
std::string id_of(X509* certificate);                  ///< empty: none
std::vector<std::string> names_of(X509* certificate);  ///< DNS names
result<void> check_dates(X509* certificate, const std::string& what);
/// Two thirds of its life are over.
bool ages(X509* certificate);
bool is_signed_by(X509* certificate, X509* authority);
bool belongs_to(X509* certificate, EVP_PKEY* key);
/// SHA-256 of its DER, lower-case hex.
result<std::string> digest_of(X509* certificate);

result<std::string> to_pem(X509* certificate);
result<std::string> to_pem(EVP_PKEY* key);  ///< PKCS #8, not encrypted
result<cert_ptr> certificate_from_pem(std::string_view pem, const std::string& what);

// -- files

/// Complete or absent, whatever happens: a temporary file beside it, synced, renamed.
result<void> write_file(const std::filesystem::path& file, std::string_view bytes, unsigned mode);
result<cert_ptr> load_certificate(const std::filesystem::path& file);
/// Refuses one that others can read.
result<key_ptr> load_key(const std::filesystem::path& file);

std::string sha256_hex(std::string_view bytes);
std::string to_hex(std::string_view bytes);
/// Nothing if it is not hex.
result<std::string> from_hex(std::string_view text);
/// From the operating system.
result<std::string> random_bytes(std::size_t count);

}  // namespace collm::link::x509
