// A node's next key and certificate: made here, signed by the head, put in place of the old ones.
// Any thread.
#pragma once

#include <memory>
#include <string>

#include "link/certificates.hpp"

namespace collm::link {

class renewal {
 public:
  /// Makes a key for whoever holds `files`.
  static result<std::shared_ptr<renewal>> begin(const tls_files& files);
  ~renewal();
  /// PKCS #10, DER, for the head.
  const std::string& request() const { return request_; }
  /// What the head signed (PEM) is put in place, if it is for this key and for the same node, of
  /// the authority that is trusted already. Its id.
  result<std::string> finish(const std::string& certificate) const;

 private:
  struct secret;
  renewal(tls_files files, std::unique_ptr<secret> key, std::string request);
  const tls_files files_;
  const std::unique_ptr<secret> key_;
  const std::string request_;
};

/// In the last third of its life, or past it.
result<bool> needs_renewal(const tls_files& files);

}  // namespace collm::link
