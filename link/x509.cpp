#include "link/x509.hpp"

#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "link/certificates.hpp"

namespace collm::link::x509 {
namespace {

namespace fs = std::filesystem;

constexpr long day_s = 24 * 3600;
// Ten years for the authority and five for the head, which makes itself a new one when it starts; a
// node's is renewed over its link.
constexpr long authority_days = 3650, head_days = 1826, node_days = 365;
constexpr std::size_t common_name_max = 64;  // ub-common-name, RFC 5280

using request_ptr = std::unique_ptr<X509_REQ, freed<X509_REQ_free>>;

error system_error(const std::string& what, const fs::path& file) {
  return {errc::io, what + " " + file.string() + ": " + std::strerror(errno)};
}

long days_of(role as) {
  return as == role::authority ? authority_days : as == role::head ? head_days : node_days;
}

bool set_serial(X509* certificate) {
  std::unique_ptr<BIGNUM, freed<BN_free>> number(BN_new());
  // 127 random bits: positive, unique without a counter file.
  return number && BN_rand(number.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_name(X509_NAME* name, const std::string& common_name) {
  return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(common_name.data()),
                                    static_cast<int>(common_name.size()), -1, 0) == 1;
}

bool add_extension(X509* certificate, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  std::unique_ptr<X509_EXTENSION, freed<X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_extensions(X509* certificate, X509* issuer, const subject& of) {
  const auto add = [&](int id, const std::string& value) {
    return add_extension(certificate, issuer, id, value);
  };
  if (!add(NID_subject_key_identifier, "hash")) return false;
  if (of.as == role::authority) {
    return add(NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add(NID_key_usage, "critical,keyCertSign,cRLSign");
  }
  std::string names = "DNS:" + of.common_name;
  for (const auto& name : of.names) names += ",DNS:" + name;
  return add(NID_basic_constraints, "critical,CA:FALSE") &&
         add(NID_key_usage, "critical,digitalSignature") &&
         add(NID_ext_key_usage, of.as == role::head ? "serverAuth" : "clientAuth") &&
         add(NID_subject_alt_name, names);
}

struct descriptor {
  int fd = -1;
  ~descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

template <class Write>
result<std::string> written_pem(Write&& write) {
  bio_ptr memory(BIO_new(BIO_s_mem()));
  if (!memory || write(memory.get()) != 1) return openssl_error("cannot write PEM");
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &bytes);
  return std::string(bytes, static_cast<std::size_t>(size));
}

/// DER of what OpenSSL's `i2d` encodes.
template <auto Encode, class T>
result<std::string> to_der(T* object, const char* what) {
  unsigned char* bytes = nullptr;
  const int size = Encode(object, &bytes);
  if (size < 0) return openssl_error(std::string("cannot encode ") + what);
  std::string out(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return out;
}

bool is_p256(EVP_PKEY* key) {
  char group[32];
  return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
         EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) == 1 &&
         OBJ_sn2nid(group) == NID_X9_62_prime256v1;
}

result<void> check_private(const fs::path& key) {
  struct stat about {};
  if (::stat(key.c_str(), &about) != 0) return system_error("cannot read", key);
  if ((about.st_mode & 077) != 0) {
    return error{errc::forbidden,
                 key.string() + " can be read by others than its owner; chmod 600 it"};
  }
  return {};
}

std::string full_name_of(X509* certificate) {
  X509_NAME* name = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (at < 0) return {};
  unsigned char* text = nullptr;
  const int size =
      ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (size < 0) return {};
  std::string copy(reinterpret_cast<char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  return copy;
}

}  // namespace

error openssl_error(const std::string& what) {
  char text[256] = "no reason given";
  if (auto code = ERR_get_error()) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return {errc::internal, what + ": " + text};
}

// -- making

result<key_ptr> make_key() {
  key_ptr key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("cannot make an EC P-256 key");
  return key;
}

result<cert_ptr> make_certificate(const subject& of, EVP_PKEY* key, const identity* signer) {
  const auto full_name = of.id.empty() ? of.common_name : to_shown_name(of.common_name, of.id);
  if (full_name.size() > common_name_max) {
    return error{errc::bad_request, "\"" + full_name +
                                        "\" is too long for a certificate: at most " +
                                        std::to_string(common_name_max) + " characters"};
  }
  cert_ptr made(X509_new());
  X509* certificate = made.get();
  X509* issuer = signer ? signer->certificate.get() : certificate;
  const bool laid =
      certificate && X509_set_version(certificate, 2) == 1 && set_serial(certificate) &&
      X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) !=
          nullptr &&  // clocks differ a little
      X509_gmtime_adj(X509_getm_notAfter(certificate),
                      of.life_s > 0 ? of.life_s : days_of(of.as) * day_s) != nullptr &&
      set_name(X509_get_subject_name(certificate), full_name) &&
      X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
      X509_set_pubkey(certificate, key) == 1 && add_extensions(certificate, issuer, of) &&
      X509_sign(certificate, signer ? signer->key.get() : key, EVP_sha256()) > 0;
  if (!laid) return openssl_error("cannot make the certificate of " + of.common_name);
  return made;
}

result<identity> make_identity(const subject& of, const identity* signer) {
  auto key = make_key();
  if (!key) return key.failure();
  auto certificate = make_certificate(of, key->get(), signer);
  if (!certificate) return certificate.failure();
  return identity{std::move(*key), std::move(*certificate)};
}

result<std::string> make_request(EVP_PKEY* key) {
  request_ptr request(X509_REQ_new());
  if (!request || X509_REQ_set_pubkey(request.get(), key) != 1 ||
      X509_REQ_sign(request.get(), key, EVP_sha256()) <= 0) {
    return openssl_error("cannot make a certificate signing request");
  }
  return to_der<i2d_X509_REQ>(request.get(), "a certificate signing request");
}

result<key_ptr> key_of_request(std::string_view der) {
  const auto wrong = [](const char* why) {
    ERR_clear_error();
    return error{errc::bad_request, std::string("the certificate signing request ") + why +
                                        "; PKCS #10 in DER with a P-256 key would be right"};
  };
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const auto* end = at + der.size();
  request_ptr request(d2i_X509_REQ(nullptr, &at, static_cast<long>(der.size())));
  if (!request || at != end) return wrong("cannot be read");
  key_ptr key(X509_REQ_get_pubkey(request.get()));
  if (!key || !is_p256(key.get())) return wrong("is for another kind of key");
  if (X509_REQ_verify(request.get(), key.get()) != 1) return wrong("is not signed by its own key");
  return key;
}

// -- reading

std::string common_name_of(X509* certificate) { return split_name(full_name_of(certificate)).name; }
std::string id_of(X509* certificate) { return split_name(full_name_of(certificate)).id; }

std::vector<std::string> names_of(X509* certificate) {
  std::unique_ptr<GENERAL_NAMES, freed<GENERAL_NAMES_free>> all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> out;
  for (int i = 0; all && i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type != GEN_DNS) continue;
    out.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                     static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  return out;
}

result<void> check_dates(X509* certificate, const std::string& what) {
  if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) {
    return error{errc::unauthorized, what + " is not valid yet; check this machine's clock"};
  }
  if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
    return error{errc::unauthorized,
                 what +
                     " has expired; `collm up` makes what the head and the nodes it starts need "
                     "anew, a node elsewhere joins with a new token (collm join-token)"};
  }
  return {};
}

bool ages(X509* certificate) {
  int days = 0, seconds = 0, left_days = 0, left_seconds = 0;
  if (ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(certificate),
                     X509_get0_notAfter(certificate)) != 1 ||
      ASN1_TIME_diff(&left_days, &left_seconds, nullptr, X509_get0_notAfter(certificate)) != 1) {
    return true;  // dates that cannot be read are no better
  }
  const long life = days * day_s + seconds, left = left_days * day_s + left_seconds;
  return left < life / 3;
}

bool is_signed_by(X509* certificate, X509* authority) {
  key_ptr key(X509_get_pubkey(authority));
  const bool yes = key && X509_verify(certificate, key.get()) == 1;
  ERR_clear_error();
  return yes;
}

bool belongs_to(X509* certificate, EVP_PKEY* key) {
  const bool yes = X509_check_private_key(certificate, key) == 1;
  ERR_clear_error();
  return yes;
}

result<std::string> digest_of(X509* certificate) {
  auto der = to_der<i2d_X509>(certificate, "a certificate");
  if (!der) return der;
  return sha256_hex(*der);
}

result<std::string> to_pem(X509* certificate) {
  return written_pem([&](BIO* to) { return PEM_write_bio_X509(to, certificate); });
}

result<std::string> to_pem(EVP_PKEY* key) {
  return written_pem([&](BIO* to) {
    return PEM_write_bio_PKCS8PrivateKey(to, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

result<cert_ptr> certificate_from_pem(std::string_view pem, const std::string& what) {
  bio_ptr from(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  cert_ptr certificate(from ? PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr) : nullptr);
  ERR_clear_error();
  if (!certificate) return error{errc::corrupt, what + " holds no PEM certificate"};
  return certificate;
}

// -- files

result<void> write_file(const fs::path& file, std::string_view bytes, unsigned mode) {
  const fs::path part = file.string() + ".part";
  {
    descriptor to{
        ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)};
    if (to.fd < 0) return system_error("cannot write", part);
    if (::fchmod(to.fd, mode) != 0) return system_error("cannot protect", part);
    while (!bytes.empty()) {
      const auto written = ::write(to.fd, bytes.data(), bytes.size());
      if (written < 0) return system_error("cannot write", part);
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    if (::fsync(to.fd) != 0) return system_error("cannot write", part);
  }
  if (::rename(part.c_str(), file.c_str()) != 0) return system_error("cannot rename to", file);
  descriptor folder{::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.fd < 0 || ::fsync(folder.fd) != 0) return system_error("cannot sync", file);
  return {};
}

result<cert_ptr> load_certificate(const fs::path& file) {
  bio_ptr from(BIO_new_file(file.c_str(), "r"));
  if (!from) {
    ERR_clear_error();
    return system_error("cannot read", file);
  }
  cert_ptr certificate(PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr));
  if (!certificate) {
    ERR_clear_error();
    return error{errc::corrupt, file.string() + " holds no PEM certificate"};
  }
  return certificate;
}

result<key_ptr> load_key(const fs::path& file) {
  if (auto kept = check_private(file); !kept) return kept.failure();
  bio_ptr from(BIO_new_file(file.c_str(), "r"));
  if (!from) {
    ERR_clear_error();
    return system_error("cannot read", file);
  }
  key_ptr key(PEM_read_bio_PrivateKey(from.get(), nullptr, nullptr, nullptr));
  if (!key) {
    ERR_clear_error();
    return error{errc::corrupt, file.string() + " holds no PEM private key"};
  }
  return key;
}

// -- bytes

std::string to_hex(std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char c : bytes) out += {digits[c >> 4], digits[c & 15]};
  return out;
}

result<std::string> from_hex(std::string_view text) {
  const auto value = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = value(text[i]), low = i + 1 < text.size() ? value(text[i + 1]) : -1;
    if (high < 0 || low < 0) return error{errc::bad_request, "is not lower-case hex"};
    out += static_cast<char>(high << 4 | low);
  }
  return out;
}

std::string sha256_hex(std::string_view bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  return to_hex({reinterpret_cast<const char*>(digest), sizeof digest});
}

result<std::string> random_bytes(std::size_t count) {
  std::string out(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(count)) != 1) {
    return openssl_error("the operating system gives no random bytes");
  }
  return out;
}

}  // namespace collm::link::x509
