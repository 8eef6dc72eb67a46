#include "link/renewal.hpp"

#include "link/x509.hpp"

namespace collm::link {

struct renewal::secret {
  x509::key_ptr key;
};

renewal::renewal(tls_files files, std::unique_ptr<secret> key, std::string request)
    : files_(std::move(files)), key_(std::move(key)), request_(std::move(request)) {}
renewal::~renewal() = default;

result<std::shared_ptr<renewal>> renewal::begin(const tls_files& files) {
  auto key = x509::make_key();
  if (!key) return key.failure();
  auto request = x509::make_request(key->get());
  if (!request) return request.failure();
  auto held = std::make_unique<secret>(secret{std::move(*key)});
  return std::shared_ptr<renewal>(new renewal(files, std::move(held), std::move(*request)));
}

result<std::string> renewal::finish(const std::string& certificate) const {
  auto made = x509::certificate_from_pem(certificate, "what the head signed");
  if (!made) return made.failure();
  auto authority = x509::load_certificate(files_.authority);
  if (!authority) return authority.failure();
  auto old = x509::load_certificate(files_.certificate);
  if (!old) return old.failure();
  if (!x509::is_signed_by(made->get(), authority->get()) ||
      !x509::belongs_to(made->get(), key_->key.get()) ||
      x509::common_name_of(made->get()) != x509::common_name_of(old->get())) {
    return error{errc::corrupt, "the head signed a certificate that is not this node's"};
  }
  auto in_time = x509::check_dates(made->get(), "the certificate from the head");
  if (!in_time) return in_time.failure();
  auto pem = x509::to_pem(key_->key.get());
  if (!pem) return pem;
  if (auto kept = install(files_, *pem, certificate); !kept) return kept.failure();
  return certificate_id(files_.certificate);
}

result<bool> needs_renewal(const tls_files& files) {
  auto held = x509::load_certificate(files.certificate);
  if (!held) return held.failure();
  return x509::ages(held->get());
}

}  // namespace collm::link
