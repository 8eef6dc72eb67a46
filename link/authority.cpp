#include "link/authority.hpp"

#include <chrono>
#include <fstream>
#include <iterator>

#include "link/x509.hpp"

namespace collm::link {
namespace {

namespace fs = std::filesystem;

fs::path book_file(const fs::path& folder) { return folder / "nodes.txt"; }

std::int64_t wall_clock() {
  using namespace std::chrono;
  return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
}

result<node_book> read_book(const fs::path& file) {
  std::error_code ignored;  // a file that is there and cannot be read is refused below
  if (!fs::exists(file, ignored)) return node_book();
  std::ifstream in(file, std::ios::binary);
  if (!in) return error{errc::io, "cannot read " + file.string()};
  auto book = node_book::parse(std::string(std::istreambuf_iterator<char>(in), {}));
  if (!book) return error{book.failure().code, file.string() + ": " + book.failure().message};
  return book;
}

}  // namespace

result<std::shared_ptr<authority>> authority::open(const fs::path& folder,
                                                   std::map<std::string, planned_member> nodes,
                                                   clock now, long node_life_s) {
  auto book = read_book(book_file(folder));
  if (!book) return book.failure();
  node_book changed = *book;
  for (const auto& [name, member] : nodes) {
    if (member.elsewhere) continue;
    auto id = certificate_id(node_files(folder, name).certificate);
    if (!id) return id.failure();
    changed.set(name, member.site, *id);
  }
  std::shared_ptr<authority> made(new authority(folder, std::move(nodes),
                                                now ? std::move(now) : clock(wall_clock),
                                                node_life_s, std::move(*book)));
  if (auto kept = made->keep(std::move(changed)); !kept) return kept.failure();
  return made;
}

result<const planned_member*> authority::elsewhere(const std::string& node,
                                                   const char* what) const {
  const auto at = nodes_.find(node);
  if (at == nodes_.end()) {
    return error{errc::not_found, "the manifest has no node '" + node + "'"};
  }
  if (!at->second.elsewhere) {
    return error{errc::conflict, "node '" + node + "' is started by this head, which holds its " +
                                     "key: " + what + "; only a node with placement: remote " +
                                     "joins, and can be revoked"};
  }
  return &at->second;
}

result<join_token> authority::issue(const std::string& node, const std::string& address,
                                    std::int64_t lives_s) {
  auto member = elsewhere(node, "it needs no token");
  if (!member) return member.failure();
  if (lives_s < 1 || lives_s > token_lives_max_s) {
    return error{errc::bad_request, "a join token lives from 1 s to " +
                                        std::to_string(token_lives_max_s / 3600) + " h, not " +
                                        std::to_string(lives_s) + " s"};
  }
  auto certificate = x509::load_certificate(head_files(folder_).authority);
  if (!certificate) return certificate.failure();
  auto digest = x509::digest_of(certificate->get());
  if (!digest) return digest.failure();
  auto secret = x509::random_bytes(token_secret_bytes);
  if (!secret) return secret.failure();
  auto noted = tokens_.issue(node, x509::sha256_hex(*secret), now_(), lives_s);
  if (!noted) return noted.failure();
  return join_token{node, address, *digest, x509::to_hex(*secret)};
}

result<signed_certificate> authority::sign(const std::string& node, std::string_view request,
                                           std::string& id) const {
  const auto& site = nodes_.at(node).site;
  auto key = x509::key_of_request(request);
  if (!key) return key.failure();
  const auto files = head_files(folder_);
  auto certificate = x509::load_certificate(files.authority);
  if (!certificate) return certificate.failure();
  auto secret = x509::load_key(folder_ / "ca.key");
  if (!secret) return secret.failure();
  const x509::identity signer{std::move(*secret), std::move(*certificate)};
  auto fresh = x509::random_bytes(certificate_id_bytes);
  if (!fresh) return fresh.failure();
  id = x509::to_hex(*fresh);
  auto made = x509::make_certificate(
      {x509::role::node, node_common_name(node), {site_name(id, site)}, node_life_s_, id},
      key->get(), &signer);
  if (!made) return made.failure();
  auto pem = x509::to_pem(made->get());
  if (!pem) return pem.failure();
  return signed_certificate{node, site, *pem};
}

result<signed_certificate> authority::enrol(std::string_view secret, std::string_view request) {
  const auto hash = x509::sha256_hex(secret);
  auto node = tokens_.check(hash, now_());
  if (!node) return node.failure();
  std::string id;
  auto made = sign(*node, request, id);
  if (!made) return made;
  node_book changed = book_;
  changed.enrol(*node, made->site, id);
  if (auto kept = keep(std::move(changed)); !kept) return kept.failure();
  tokens_.use(hash);
  return made;
}

result<signed_certificate> authority::renew(const std::string& node, std::string_view request) {
  std::string id;
  auto made = sign(node, request, id);
  if (!made) return made;
  node_book changed = book_;
  changed.add(node, id);
  if (auto kept = keep(std::move(changed)); !kept) return kept.failure();
  return made;
}

result<void> authority::admits(const std::string& node, const std::string& site,
                               const std::string& id) const {
  return book_.admits(node, site, id, now_());
}

result<void> authority::holds(const std::string& node, const std::string& id) {
  node_book changed = book_;
  if (!changed.retire_before(node, id, now_() + grace_s)) return {};
  return keep(std::move(changed));
}

result<void> authority::revoke(const std::string& node) {
  const auto planned = nodes_.find(node);
  if (planned != nodes_.end() && !planned->second.elsewhere) {
    return elsewhere(node, "there is nothing to revoke").failure();
  }
  node_book changed = book_;  // of a node that has left the manifest, too
  if (auto revoked = changed.revoke(node, now_()); !revoked) return revoked;
  return keep(std::move(changed));
}

bool authority::runs_elsewhere(const std::string& node) const {
  const auto at = nodes_.find(node);
  return at != nodes_.end() && at->second.elsewhere;
}

result<std::string> authority::certificate() const {
  auto own = x509::load_certificate(head_files(folder_).authority);
  if (!own) return own.failure();
  return x509::to_pem(own->get());
}

result<void> authority::keep(node_book changed) {
  if (auto written = x509::write_file(book_file(folder_), changed.text(), 0600); !written)
    return written;
  book_ = std::move(changed);
  return {};
}

}  // namespace collm::link
