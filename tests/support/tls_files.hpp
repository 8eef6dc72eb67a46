// A self-signed certificate for 127.0.0.1 and localhost, in a folder of its own that goes with it.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

namespace collm::testing_support {

class certificate_folder {
 public:
  explicit certificate_folder(const std::string& names = "IP:127.0.0.1,DNS:localhost") {
    char name[] = "/tmp/collm-tls-XXXXXX";
    if (::mkdtemp(name) == nullptr) std::abort();
    folder_ = name;
    make(names);
  }
  certificate_folder(const certificate_folder&) = delete;
  ~certificate_folder() {
    std::error_code ignored;  // a leftover in /tmp harms nobody
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string certificate() const { return folder_ / "certificate.pem"; }
  std::string key() const { return folder_ / "key.pem"; }

 private:
  void make(const std::string& names) {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"),
                                                                  EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> one(X509_new(), X509_free);
    X509_set_version(one.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(one.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(one.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(one.get()), 24 * 3600);
    X509_NAME* subject = X509_get_subject_name(one.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
    X509_set_issuer_name(one.get(), subject);
    X509_set_pubkey(one.get(), key.get());
    X509V3_CTX about;
    X509V3_set_ctx(&about, one.get(), one.get(), nullptr, nullptr, 0);
    X509_EXTENSION* also =
        X509V3_EXT_conf_nid(nullptr, &about, NID_subject_alt_name, names.c_str());
    X509_add_ext(one.get(), also, -1);
    X509_EXTENSION_free(also);
    X509_sign(one.get(), key.get(), EVP_sha256());
    std::FILE* out = std::fopen(certificate().c_str(), "w");
    PEM_write_X509(out, one.get());
    std::fclose(out);
    out = std::fopen(this->key().c_str(), "w");
    PEM_write_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
    ::chmod(this->key().c_str(), 0600);
  }

  std::filesystem::path folder_;
};

}  // namespace collm::testing_support
