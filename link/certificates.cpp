#include "link/certificates.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "link/x509.hpp"

namespace collm::link {
namespace {

namespace fs = std::filesystem;
using x509::identity;
using x509::role;

constexpr std::string_view site_end = ".site";

error system_error(const std::string& what, const fs::path& file) {
  return {errc::io, what + " " + file.string() + ": " + std::strerror(errno)};
}

fs::path next(const fs::path& file) { return file.string() + ".next"; }

bool is_there(const fs::path& file) {
  std::error_code ignored;  // what cannot be looked at is read next, and says why then
  return fs::exists(file, ignored);
}

result<void> move(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  return system_error("cannot rename to", to);
}

result<void> save(const identity& made, const tls_files& files) {
  auto key = x509::to_pem(made.key.get());
  if (!key) return key.failure();
  auto certificate = x509::to_pem(made.certificate.get());
  if (!certificate) return certificate.failure();
  return install(files, *key, *certificate);
}

/// Pair and name; not the dates.
result<identity> load_pair(const tls_files& files, const std::string& common_name) {
  if (auto settled = settle(files); !settled) return settled.failure();
  auto shown = x509::load_certificate(files.certificate);
  if (!shown) return shown.failure();
  auto secret = x509::load_key(files.key);
  if (!secret) return secret.failure();
  if (!x509::belongs_to(shown->get(), secret->get())) {
    return error{errc::conflict, files.key.string() + " is not the key of " +
                                     files.certificate.string() +
                                     "; remove both, `collm up` makes new ones"};
  }
  if (const auto found = x509::common_name_of(shown->get()); found != common_name) {
    return error{errc::conflict, files.certificate.string() + " is for \"" + found +
                                     "\", not for \"" + common_name +
                                     "\"; remove it and its key, or use another folder"};
  }
  return identity{std::move(*secret), std::move(*shown)};
}

result<identity> load_identity(const tls_files& files, const std::string& common_name) {
  auto pair = load_pair(files, common_name);
  if (!pair) return pair;
  auto in_time = x509::check_dates(pair->certificate.get(), files.certificate.string());
  if (!in_time) return in_time.failure();
  return pair;
}

result<void> check_signed(X509* certificate, const tls_files& files, X509* authority) {
  if (x509::is_signed_by(certificate, authority)) return {};
  return error{errc::unauthorized, files.certificate.string() + " is not signed by " +
                                       files.authority.string() +
                                       "; remove it and its key, `collm up` makes new ones"};
}

error bad_name(const std::string& what, const std::string& name) {
  return {errc::bad_request,
          what + " name \"" + name +
              "\" cannot stand in a certificate: letters, digits, '-', '_' and '.' can"};
}

std::string authority_name(const std::string& cluster) { return "ca." + cluster; }

tls_files authority_files(const fs::path& folder) {
  return {folder / "ca.crt", folder / "ca.crt", folder / "ca.key"};
}

bool names_site(X509* certificate, const std::string& site) {
  const auto names = x509::names_of(certificate);
  return std::find(names.begin(), names.end(), site_name(x509::id_of(certificate), site)) !=
         names.end();
}

result<identity> make_and_save(const x509::subject& of, const tls_files& files,
                               const identity* signer) {
  auto made = x509::make_identity(of, signer);
  if (!made) return made;
  if (auto kept = save(*made, files); !kept) return kept.failure();
  return made;
}

/// Loads the pair, or makes it if its certificate is absent.
result<identity> ensure_authority(const fs::path& folder, const std::string& cluster) {
  const auto files = authority_files(folder);
  if (auto settled = settle(files); !settled) return settled.failure();
  const auto name = authority_name(cluster);
  if (is_there(files.certificate)) return load_identity(files, name);
  return make_and_save({role::authority, name, {}, 0, {}}, files, nullptr);
}

/// `site` empty: the head's.
result<void> ensure_leaf(x509::subject of, const std::string& site, const tls_files& files,
                         const identity& authority) {
  if (auto settled = settle(files); !settled) return settled;
  if (is_there(files.certificate)) {
    auto there = load_pair(files, of.common_name);
    if (!there) return there.failure();
    X509* certificate = there->certificate.get();
    auto ours = check_signed(certificate, files, authority.certificate.get());
    if (!ours) return ours;
    // One that an older release made names no site.
    if (!x509::ages(certificate) && (site.empty() || names_site(certificate, site))) return {};
  }
  if (!site.empty()) {
    auto id = x509::random_bytes(certificate_id_bytes);
    if (!id) return id.failure();
    of.id = x509::to_hex(*id);
    of.names = {site_name(of.id, site)};
  }
  auto made = make_and_save(of, files, &authority);
  return made ? result<void>() : made.failure();
}

struct descriptor {
  int fd = -1;
  ~descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

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

bool is_plain_name(const std::string& name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !name.empty() && name.front() != '.' && std::all_of(name.begin(), name.end(), plain);
}

tls_files head_files(const fs::path& folder) {
  return {authority_files(folder).certificate, folder / "head.crt", folder / "head.key"};
}

tls_files node_files(const fs::path& folder, const std::string& node) {
  return {authority_files(folder).certificate, folder / (node + ".node.crt"),
          folder / (node + ".node.key")};
}

std::string head_common_name(const std::string& cluster) { return "head." + cluster; }
std::string node_common_name(const std::string& node) { return node + ".node"; }
std::string to_shown_name(const std::string& name, const std::string& id) {
  return name + "/" + id;
}
shown_name split_name(const std::string& shown) {
  const auto slash = std::min(shown.find('/'), shown.size());
  return {shown.substr(0, slash), shown.substr(std::min(slash + 1, shown.size()))};
}
std::string site_name(const std::string& id, const std::string& site) {
  return id + "." + site + std::string(site_end);
}

result<void> make_private_folder(const fs::path& folder) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return error{errc::io, "cannot make " + folder.string() + ": " + failed.message()};
  fs::permissions(folder, fs::perms::owner_all, failed);
  if (failed) return error{errc::io, "cannot protect " + folder.string() + ": " + failed.message()};
  return {};
}

result<void> ensure_certificates(const fs::path& folder, const std::string& cluster,
                                 const std::vector<node_identity>& nodes) {
  for (const auto& node : nodes) {
    if (!is_plain_name(node.name)) return bad_name("node", node.name);
    if (!is_plain_name(node.site)) return bad_name("site", node.site);
  }
  if (!is_plain_name(cluster)) return bad_name("cluster", cluster);
  if (auto made = make_private_folder(folder); !made) return made;
  auto lock = lock_folder(folder);
  if (!lock) return lock.failure();
  auto authority = ensure_authority(folder, cluster);
  if (!authority) return authority.failure();
  auto head = ensure_leaf({role::head, head_common_name(cluster), {}, 0, {}}, "",
                          head_files(folder), *authority);
  if (!head) return head;
  for (const auto& node : nodes) {
    auto made = ensure_leaf({role::node, node_common_name(node.name), {}, 0, {}}, node.site,
                            node_files(folder, node.name), *authority);
    if (!made) return made;
  }
  return {};
}

result<void> check_certificate(const tls_files& files, const std::string& common_name) {
  auto authority = x509::load_certificate(files.authority);
  if (!authority) return authority.failure();
  auto in_time = x509::check_dates(authority->get(), files.authority.string());
  if (!in_time) return in_time;
  auto own = load_identity(files, common_name);
  if (!own) return own.failure();
  return check_signed(own->certificate.get(), files, authority->get());
}

result<std::string> certificate_id(const fs::path& file) {
  auto certificate = x509::load_certificate(file);
  if (!certificate) return certificate.failure();
  return x509::id_of(certificate->get());
}

// The certificate last: it is the mark that both are there.
result<void> install(const tls_files& files, const std::string& key,
                     const std::string& certificate) {
  if (auto done = x509::write_file(next(files.key), key, 0600); !done) return done;
  if (auto done = x509::write_file(next(files.certificate), certificate, 0644); !done) return done;
  return settle(files);
}

result<void> settle(const tls_files& files) {
  if (!is_there(next(files.certificate))) return {};  // a key alone is the rest of a broken attempt
  if (is_there(next(files.key))) {
    if (auto moved = move(next(files.key), files.key); !moved) return moved;
  }
  return move(next(files.certificate), files.certificate);
}

}  // namespace collm::link
