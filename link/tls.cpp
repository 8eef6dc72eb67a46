#include "link/tls.hpp"

#include <fstream>
#include <iterator>

namespace collm::link {
namespace {

result<std::string> read_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return error{errc::io, "cannot read " + file.string()};
  return std::string(std::istreambuf_iterator<char>(in), {});
}

kj::StringPtr text(const std::string& s) { return {s.data(), s.size()}; }

/// `clients`: they show certificates, of the same authority. `chain`: we show the authority's, too.
result<kj::Own<kj::TlsContext>> make_context(const tls_files& files, kj::Timer& timer,
                                             std::chrono::milliseconds handshake_max, bool clients,
                                             bool chain) {
  auto authority = read_file(files.authority);
  if (!authority) return authority.failure();
  auto certificate = read_file(files.certificate);
  if (!certificate) return certificate.failure();
  auto key = read_file(files.key);
  if (!key) return key.failure();
  if (chain) *certificate += *authority;
  try {
    const kj::TlsCertificate trusted[] = {kj::TlsCertificate(text(*authority))};
    const kj::TlsKeypair own{kj::TlsPrivateKey(text(*key)), kj::TlsCertificate(text(*certificate))};
    kj::TlsContext::Options options;
    options.useSystemTrustStore = false;
    options.verifyClients = clients;
    options.trustedCertificates = trusted;
    options.minVersion = kj::TlsVersion::TLS_1_2;
    options.defaultKeypair = own;
    options.timer = timer;
    options.acceptTimeout = to_kj(handshake_max);
    return kj::heap<kj::TlsContext>(options);
  } catch (const kj::Exception& e) {
    return error{errc::corrupt,
                 "cannot use " + files.certificate.string() + ": " + e.getDescription().cStr()};
  }
}

}  // namespace

result<kj::Own<kj::TlsContext>> make_tls(const tls_files& files, kj::Timer& timer,
                                         std::chrono::milliseconds handshake_max) {
  return make_context(files, timer, handshake_max, true, false);
}

result<kj::Own<kj::TlsContext>> make_open_tls(const tls_files& files, kj::Timer& timer,
                                              std::chrono::milliseconds handshake_max) {
  return make_context(files, timer, handshake_max, false, true);
}

}  // namespace collm::link
