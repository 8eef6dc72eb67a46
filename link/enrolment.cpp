#include "link/enrolment.hpp"

#include <netdb.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "link/certificates.hpp"
#include "link/outcome.hpp"
#include "link/x509.hpp"
#include "messages/msg.hpp"

namespace collm::link {
namespace {

using context_ptr = std::unique_ptr<SSL_CTX, x509::freed<SSL_CTX_free>>;
using ssl_ptr = std::unique_ptr<SSL, x509::freed<SSL_free>>;
using store_ptr = std::unique_ptr<X509_STORE, x509::freed<X509_STORE_free>>;
using verifier_ptr = std::unique_ptr<X509_STORE_CTX, x509::freed<X509_STORE_CTX_free>>;
using addresses_ptr = std::unique_ptr<addrinfo, x509::freed<freeaddrinfo>>;

constexpr std::size_t reply_bytes_max = 1u << 20;

class socket_fd {
 public:
  explicit socket_fd(int fd) : fd_(fd) {}
  socket_fd(socket_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~socket_fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

error away(const join_token& token, const std::string& why) {
  return {errc::unavailable, "the head at " + token.address + " does not answer: " + why};
}

result<socket_fd> connect_to(const join_token& token, std::chrono::seconds at_most) {
  const auto colon = token.address.rfind(':');
  std::string host = token.address.substr(0, colon);
  const std::string port = token.address.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(host.c_str(), port.c_str(), &wanted, &found); failed != 0)
    return away(token, ::gai_strerror(failed));
  const addresses_ptr all(found);
  std::string why = "no address";
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    socket_fd fd(::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol));
    const timeval patience{at_most.count(), 0};
    if (fd.get() >= 0 &&
        ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
        ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
        ::connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0) {
      return fd;
    }
    why = std::strerror(errno);
  }
  return away(token, why);
}

/// The certificate in the peer's chain that the token names; null: none.
X509* pinned(STACK_OF(X509) * chain, const std::string& digest) {
  for (int i = 0; chain != nullptr && i < sk_X509_num(chain); ++i) {
    X509* certificate = sk_X509_value(chain, i);
    const auto found = x509::digest_of(certificate);
    if (found && *found == digest) return certificate;
  }
  return nullptr;
}

/// The peer has shown that it holds the key of its certificate; here: that the token's authority
/// made that for a head. A node's certificate is for clients only and does not pass.
result<void> believe(SSL* ssl, const join_token& token) {
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  X509* authority = pinned(chain, token.authority);
  if (authority == nullptr) {
    return error{errc::forbidden, "what answers at " + token.address +
                                      " is not of the cluster that made this token (its authority "
                                      "is another one); nothing was sent to it"};
  }
  const store_ptr trusted(X509_STORE_new());
  const verifier_ptr check(X509_STORE_CTX_new());
  const bool laid =
      trusted && check && X509_STORE_add_cert(trusted.get(), authority) == 1 &&
      X509_STORE_CTX_init(check.get(), trusted.get(), sk_X509_value(chain, 0), chain) == 1 &&
      X509_STORE_CTX_set_purpose(check.get(), X509_PURPOSE_SSL_SERVER) == 1;
  if (!laid) return x509::openssl_error("cannot check the head's certificate");
  if (X509_verify_cert(check.get()) == 1) return {};
  return error{errc::forbidden,
               "what answers at " + token.address + " is not the head: " +
                   X509_verify_cert_error_string(X509_STORE_CTX_get_error(check.get())) +
                   "; nothing was sent to it"};
}

result<std::string> read_all(SSL* ssl, const join_token& token, std::chrono::seconds at_most) {
  const auto end = std::chrono::steady_clock::now() + at_most;
  std::string out;
  char bytes[4096];
  for (;;) {
    const int count = SSL_read(ssl, bytes, sizeof bytes);
    if (count <= 0) {
      if (SSL_get_error(ssl, count) == SSL_ERROR_ZERO_RETURN) return out;
      return away(token, "it hung up, as it does when too many ask at once; try again");
    }
    out.append(bytes, static_cast<std::size_t>(count));
    if (out.size() > reply_bytes_max) return away(token, "its reply is too long");
    if (std::chrono::steady_clock::now() > end) return away(token, "its reply takes too long");
  }
}

/// One message there, one back.
result<msg<schema::Enrolled>> exchange(const join_token& token, const msg<schema::Enrol>& request,
                                       std::chrono::seconds at_most) {
  auto fd = connect_to(token, at_most);
  if (!fd) return fd.failure();
  const context_ptr context(SSL_CTX_new(TLS_client_method()));
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1)
    return x509::openssl_error("cannot set up TLS");
  // Nobody is believed in the handshake: believe() decides, before a byte is sent.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  const ssl_ptr ssl(SSL_new(context.get()));
  if (!ssl || SSL_set_fd(ssl.get(), fd->get()) != 1)
    return x509::openssl_error("cannot set up TLS");
  if (SSL_connect(ssl.get()) != 1) return away(token, x509::openssl_error("TLS failed").message);
  if (auto believed = believe(ssl.get(), token); !believed) return believed.failure();
  const auto bytes = request.bytes();
  if (SSL_write(ssl.get(), bytes.data(), static_cast<int>(bytes.size())) <= 0)
    return away(token, x509::openssl_error("TLS failed").message);
  auto reply = read_all(ssl.get(), token, at_most);
  if (!reply) return reply.failure();
  return msg<schema::Enrolled>::from_bytes(std::as_bytes(std::span(*reply)));
}

error wrong_answer(const join_token& token, const std::string& what) {
  return {errc::corrupt, "the head at " + token.address + " answered with " + what};
}

/// Believes the head's answer and keeps what it gave.
result<enrolment> take(const join_token& token, schema::Enrolled::Reader reply, EVP_PKEY* key,
                       const std::filesystem::path& folder) {
  if (reply.isFailure()) {
    const auto why = reply.getFailure();
    return error{code_named(why.getCode().cStr()), why.getMessage(), why.getRetryAfterMs()};
  }
  const auto member = reply.getMember();
  if (auto ours = check_member(token, member, key); !ours) return ours.failure();
  const auto files = node_files(folder, token.node);
  auto pem = x509::to_pem(key);
  if (!pem) return pem.failure();
  auto trusted = x509::write_file(files.authority, member.getAuthority().cStr(), 0644);
  if (!trusted) return trusted.failure();
  if (auto kept = install(files, *pem, member.getCertificate()); !kept) return kept.failure();
  return enrolment{member.getCluster(), member.getNode(), member.getSite(), member.getLink(),
                   member.getManifest()};
}

}  // namespace

result<void> check_member(const join_token& token, schema::Member::Reader member, EVP_PKEY* key) {
  if (token.node != member.getNode().cStr())
    return wrong_answer(token, "a certificate of node '" + std::string(member.getNode()) + "'");
  auto authority = x509::certificate_from_pem(member.getAuthority().cStr(), "the authority");
  if (!authority) return authority.failure();
  auto digest = x509::digest_of(authority->get());
  if (!digest) return digest.failure();
  if (*digest != token.authority) return wrong_answer(token, "another authority");
  auto own = x509::certificate_from_pem(member.getCertificate().cStr(), "the answer");
  if (!own) return own.failure();
  if (!x509::is_signed_by(own->get(), authority->get()) || !x509::belongs_to(own->get(), key) ||
      x509::common_name_of(own->get()) != node_common_name(token.node)) {
    return wrong_answer(token, "a certificate that is not this node's");
  }
  return x509::check_dates(own->get(), "the certificate from the head");
}

result<enrolment> enrol(const join_token& token, const std::filesystem::path& folder,
                        std::chrono::seconds at_most) {
  auto key = x509::make_key();
  if (!key) return key.failure();
  auto request = x509::make_request(key->get());
  if (!request) return request.failure();
  auto secret = x509::from_hex(token.secret);
  if (!secret) return secret.failure();
  // The folder first: a token must not be used up for a disk that takes nothing.
  if (auto made = make_private_folder(folder); !made) return made.failure();
  const auto data = [](const std::string& s) {
    return capnp::Data::Reader(reinterpret_cast<const kj::byte*>(s.data()), s.size());
  };
  const auto ask = msg<schema::Enrol>::build([&](schema::Enrol::Builder to) {
    to.setSecret(data(*secret));
    to.setRequest(data(*request));
  });
  auto reply = exchange(token, ask, at_most);
  if (!reply) return reply.failure();
  const auto taken = guard([&] { return take(token, *reply->read(), key->get(), folder); });
  if (!taken) return taken.failure();
  return *taken;
}

}  // namespace collm::link
