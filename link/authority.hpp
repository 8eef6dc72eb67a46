// The cluster's certificate authority while its head runs: who may join by a token, what it signs,
// whom it has revoked. The key is read for each signature and not kept. Loop thread, once open.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "link/certificates.hpp"
#include "link/join_tokens.hpp"
#include "link/node_book.hpp"

namespace collm::link {

/// A node of the plan as the authority sees it.
struct planned_member {
  std::string site;
  bool elsewhere = false;  ///< it joins with a token; the others' certificates the head makes
};

/// A signed certificate and whose it is.
struct signed_certificate {
  std::string node, site, certificate;  ///< PEM
};

class authority {
 public:
  using clock = std::function<std::int64_t()>;  ///< Unix time, s
  /// For how long a certificate is accepted after its node has shown or confirmed a newer one.
  static constexpr std::int64_t grace_s = 600;
  static constexpr std::int64_t token_lives_max_s = 24 * 3600;

  /// Over `folder`, in which ensure_certificates() has run. Refuses with the file that is damaged.
  /// `node_life_s`: of the certificates that it signs; 0: a year.
  static result<std::shared_ptr<authority>> open(const std::filesystem::path& folder,
                                                 std::map<std::string, planned_member> nodes,
                                                 clock now = {}, long node_life_s = 0);

  /// For a node that is planned elsewhere; `address`: of the enrolment port.
  result<join_token> issue(const std::string& node, const std::string& address,
                           std::int64_t lives_s);
  /// `secret`: the bytes of a token; `request`: PKCS #10, DER. Signed once: the token is used.
  result<signed_certificate> enrol(std::string_view secret, std::string_view request);
  /// A further certificate of a node that is joined.
  result<signed_certificate> renew(const std::string& node, std::string_view request);

  /// Whether certificate `id` lets `node` of `site` join.
  result<void> admits(const std::string& node, const std::string& site,
                      const std::string& id) const;
  /// The node shows or has stored certificate `id`: older ones end after grace_s.
  result<void> holds(const std::string& node, const std::string& id);
  /// Durable when it returns. The head's own nodes cannot be revoked: it holds their keys.
  result<void> revoke(const std::string& node);

  /// A node that the head did not start.
  bool runs_elsewhere(const std::string& node) const;
  std::int64_t unix_time() const { return now_(); }  ///< s
  /// PEM, for who joins.
  result<std::string> certificate() const;

 private:
  authority(std::filesystem::path folder, std::map<std::string, planned_member> nodes, clock now,
            long node_life_s, node_book book)
      : folder_(std::move(folder)),
        nodes_(std::move(nodes)),
        now_(std::move(now)),
        node_life_s_(node_life_s),
        book_(std::move(book)) {}
  result<const planned_member*> elsewhere(const std::string& node, const char* what) const;
  /// Signs the request's key as `node`; the id of what it signed.
  result<signed_certificate> sign(const std::string& node, std::string_view request,
                                  std::string& id) const;
  /// Makes `changed` the book, once it is on disk.
  result<void> keep(node_book changed);

  const std::filesystem::path folder_;
  const std::map<std::string, planned_member> nodes_;
  const clock now_;
  const long node_life_s_;
  node_book book_;
  token_book tokens_;
};

}  // namespace collm::link
