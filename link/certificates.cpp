#include "link/certificates.hpp"

#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

namespace collm::link {
namespace {

namespace fs = std::filesystem;

// Ten years for the authority, five for what it signs: rotation is not automatic yet, and an edge
// site runs for years.
constexpr long authority_days = 3650;
constexpr long leaf_days = 1826;
constexpr std::size_t common_name_max = 64;  // ub-common-name, RFC 5280

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

/// What a certificate is for; decides its extensions.
enum class role { authority, head, node };

error openssl_error(const std::string& what) {
  char text[256] = "no reason given";
  if (auto code = ERR_get_error()) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return {errc::internal, what + ": " + text};
}

error system_error(const std::string& what, const fs::path& file) {
  return {errc::io, what + " " + file.string() + ": " + std::strerror(errno)};
}

// -- making

result<key_ptr> make_key() {
  key_ptr key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("cannot make an EC P-256 key");
  return key;
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

bool add_extensions(X509* certificate, X509* issuer, role as, const std::string& common_name) {
  const auto add = [&](int id, const std::string& value) {
    return add_extension(certificate, issuer, id, value);
  };
  if (!add(NID_subject_key_identifier, "hash")) return false;
  if (as == role::authority) {
    return add(NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add(NID_key_usage, "critical,keyCertSign,cRLSign");
  }
  return add(NID_basic_constraints, "critical,CA:FALSE") &&
         add(NID_key_usage, "critical,digitalSignature") &&
         add(NID_ext_key_usage, as == role::head ? "serverAuth" : "clientAuth") &&
         add(NID_subject_alt_name, "DNS:" + common_name);
}

/// `signer` null: signs itself.
result<identity> make_identity(role as, const std::string& common_name, const identity* signer) {
  if (common_name.size() > common_name_max) {
    return error{errc::bad_request, "\"" + common_name +
                                        "\" is too long for a certificate: at most " +
                                        std::to_string(common_name_max) + " characters"};
  }
  auto key = make_key();
  if (!key) return key.failure();
  identity made{std::move(*key), cert_ptr(X509_new())};
  X509* certificate = made.certificate.get();
  X509* issuer = signer ? signer->certificate.get() : certificate;
  const long days = as == role::authority ? authority_days : leaf_days;
  const bool laid =
      certificate && X509_set_version(certificate, 2) == 1 && set_serial(certificate) &&
      X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) !=
          nullptr &&  // clocks differ a little
      X509_gmtime_adj(X509_getm_notAfter(certificate), days * 24 * 3600) != nullptr &&
      set_name(X509_get_subject_name(certificate), common_name) &&
      X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
      X509_set_pubkey(certificate, made.key.get()) == 1 &&
      add_extensions(certificate, issuer, as, common_name) &&
      X509_sign(certificate, (signer ? signer->key : made.key).get(), EVP_sha256()) > 0;
  if (!laid) return openssl_error("cannot make the certificate of " + common_name);
  return made;
}

// -- files

struct descriptor {
  int fd = -1;
  ~descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

/// Complete or absent, whatever happens: a temporary file beside it, synced, renamed.
result<void> write_file(const fs::path& file, std::string_view bytes, mode_t mode) {
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
  return {};
}

template <class Write>
result<std::string> to_pem(Write&& write) {
  bio_ptr memory(BIO_new(BIO_s_mem()));
  if (!memory || write(memory.get()) != 1) return openssl_error("cannot write PEM");
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &bytes);
  return std::string(bytes, static_cast<std::size_t>(size));
}

/// The key first: the certificate is the mark that both are there.
result<void> save(const identity& made, const fs::path& certificate, const fs::path& key) {
  auto key_text = to_pem([&](BIO* to) {
    return PEM_write_bio_PKCS8PrivateKey(to, made.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
  if (!key_text) return key_text.failure();
  auto text = to_pem([&](BIO* to) { return PEM_write_bio_X509(to, made.certificate.get()); });
  if (!text) return text.failure();
  if (auto done = write_file(key, *key_text, 0600); !done) return done;
  return write_file(certificate, *text, 0644);
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

// -- checking

std::string common_name_of(X509* certificate) {
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

result<void> check_dates(X509* certificate, const fs::path& file) {
  if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) {
    return error{errc::unauthorized,
                 file.string() + " is not valid yet; check this machine's clock"};
  }
  if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
    return error{errc::unauthorized,
                 file.string() + " has expired; remove it and its key, `collm up` makes new ones"};
  }
  return {};
}

result<identity> load_identity(const fs::path& certificate, const fs::path& key,
                               const std::string& common_name) {
  auto shown = load_certificate(certificate);
  if (!shown) return shown.failure();
  auto secret = load_key(key);
  if (!secret) return secret.failure();
  if (X509_check_private_key(shown->get(), secret->get()) != 1) {
    ERR_clear_error();
    return error{errc::conflict, key.string() + " is not the key of " + certificate.string() +
                                     "; remove both, `collm up` makes new ones"};
  }
  if (const auto found = common_name_of(shown->get()); found != common_name) {
    return error{errc::conflict, certificate.string() + " is for \"" + found + "\", not for \"" +
                                     common_name +
                                     "\"; remove it and its key, or use another folder"};
  }
  if (auto in_time = check_dates(shown->get(), certificate); !in_time) return in_time.failure();
  return identity{std::move(*secret), std::move(*shown)};
}

result<void> check_signed(X509* certificate, const fs::path& file, X509* authority,
                          const fs::path& authority_file) {
  key_ptr key(X509_get_pubkey(authority));
  const bool signed_by = key && X509_verify(certificate, key.get()) == 1;
  ERR_clear_error();
  if (signed_by) return {};
  return error{errc::unauthorized, file.string() + " is not signed by " + authority_file.string() +
                                       "; remove it and its key, `collm up` makes new ones"};
}

// Names become file names and parts of extensions, where '/' and ',' mean something else.
bool is_plain_name(const std::string& name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !name.empty() && name.front() != '.' && std::all_of(name.begin(), name.end(), plain);
}

error bad_name(const std::string& what, const std::string& name) {
  return {errc::bad_request,
          what + " name \"" + name +
              "\" cannot stand in a certificate: letters, digits, '-', '_' and '.' can"};
}

std::string authority_name(const std::string& cluster) { return "ca." + cluster; }

fs::path authority_certificate(const fs::path& folder) { return folder / "ca.crt"; }
fs::path authority_key(const fs::path& folder) { return folder / "ca.key"; }

/// Loads the pair, or makes it if its certificate is absent (a key alone is the rest of a broken
/// attempt).
result<identity> ensure_pair(role as, const std::string& common_name, const fs::path& certificate,
                             const fs::path& key, const identity* signer) {
  std::error_code ignored;
  if (fs::exists(certificate, ignored)) return load_identity(certificate, key, common_name);
  auto made = make_identity(as, common_name, signer);
  if (!made) return made;
  if (auto kept = save(*made, certificate, key); !kept) return kept.failure();
  return made;
}

result<void> ensure_leaf(role as, const std::string& common_name, const tls_files& files,
                         const identity& authority) {
  auto leaf = ensure_pair(as, common_name, files.certificate, files.key, &authority);
  if (!leaf) return leaf.failure();
  return check_signed(leaf->certificate.get(), files.certificate, authority.certificate.get(),
                      files.authority);
}

/// Two `collm up` at once must not make two authorities. Held until closed.
result<std::unique_ptr<descriptor>> lock_folder(const fs::path& folder) {
  const fs::path file = folder / "lock";
  auto held = std::make_unique<descriptor>();
  held->fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (held->fd < 0) return system_error("cannot write", file);
  if (::flock(held->fd, LOCK_EX) != 0) return system_error("cannot lock", file);
  return held;
}

}  // namespace

tls_files head_files(const fs::path& folder) {
  return {authority_certificate(folder), folder / "head.crt", folder / "head.key"};
}

tls_files node_files(const fs::path& folder, const std::string& node) {
  return {authority_certificate(folder), folder / (node + ".node.crt"),
          folder / (node + ".node.key")};
}

std::string head_common_name(const std::string& cluster) { return "head." + cluster; }
std::string node_common_name(const std::string& node) { return node + ".node"; }

result<void> ensure_certificates(const fs::path& folder, const std::string& cluster,
                                 const std::vector<std::string>& nodes) {
  for (const auto& node : nodes) {
    if (!is_plain_name(node)) return bad_name("node", node);
  }
  if (!is_plain_name(cluster)) return bad_name("cluster", cluster);
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return error{errc::io, "cannot make " + folder.string() + ": " + failed.message()};
  fs::permissions(folder, fs::perms::owner_all, failed);
  if (failed) return error{errc::io, "cannot protect " + folder.string() + ": " + failed.message()};
  auto lock = lock_folder(folder);
  if (!lock) return lock.failure();
  auto authority = ensure_pair(role::authority, authority_name(cluster),
                               authority_certificate(folder), authority_key(folder), nullptr);
  if (!authority) return authority.failure();
  auto head = ensure_leaf(role::head, head_common_name(cluster), head_files(folder), *authority);
  if (!head) return head;
  for (const auto& node : nodes) {
    auto made =
        ensure_leaf(role::node, node_common_name(node), node_files(folder, node), *authority);
    if (!made) return made;
  }
  return {};
}

result<void> check_certificate(const tls_files& files, const std::string& common_name) {
  auto authority = load_certificate(files.authority);
  if (!authority) return authority.failure();
  if (auto in_time = check_dates(authority->get(), files.authority); !in_time) return in_time;
  auto own = load_identity(files.certificate, files.key, common_name);
  if (!own) return own.failure();
  return check_signed(own->certificate.get(), files.certificate, authority->get(), files.authority);
}

}  // namespace collm::link
