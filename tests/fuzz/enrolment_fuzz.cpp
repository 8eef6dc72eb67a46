// Any bytes in the exchange by which a node joins: as its request at the head's open port, as the
// signing request in it, as the answer at the node, as the token on its standard input. Only a
// request with the token's secret and a key that signed it gets a certificate, once, for that key
// and the token's node; only what the authority signed for the node's own key is believed.
#include "tests/fuzz/enrolment_fuzz.hpp"

#include <unistd.h>

#include <cstdint>
#include <span>

#include "link/enrolment.hpp"
#include "link/enrolment_server.hpp"
#include "messages/assert.hpp"
#include "messages/enrolment.capnp.h"
#include "tests/fuzz/taken.hpp"

namespace collm::fuzz {
namespace {

using namespace link;

constexpr std::int64_t a_time = 1'000'000;

std::string_view text_of(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}

/// The key of a signing request, if the authority would take it.
result<x509::key_ptr> check_signing_request(std::string_view der) {
  auto key = x509::key_of_request(der);
  if (!key) COLLM_ASSERT(key.failure().code == errc::bad_request && !key.failure().message.empty());
  return key;
}

void check_certificate_for(EVP_PKEY* key, const signed_certificate& made) {
  const auto authority =
      taken(x509::certificate_from_pem(taken(the_cluster().head->certificate()), "the authority"));
  const auto certificate = taken(x509::certificate_from_pem(made.certificate, "the answer"));
  COLLM_ASSERT(x509::is_signed_by(certificate.get(), authority.get()));
  COLLM_ASSERT(x509::common_name_of(certificate.get()) == "edge-c.node");
  // The key's public half is all that the request told.
  COLLM_ASSERT(EVP_PKEY_eq(X509_get0_pubkey(certificate.get()), key) == 1);
}

void check_request(std::span<const std::byte> bytes) {
  if (bytes.size() > enrolment_server::request_bytes_max) return;
  auto message = msg<schema::Enrol>::from_bytes(bytes);
  if (!message) return COLLM_ASSERT(!message.failure().message.empty());
  // As on the port, where what reading throws ends the connection.
  const auto fields = guard([&] {
    auto view = message->read();
    return std::pair(std::string(text_of(view->getSecret())),
                     std::string(text_of(view->getRequest())));
  });
  if (!fields) return COLLM_ASSERT(!fields.failure().message.empty());
  auto& cluster = the_cluster();
  auto [secret, request] = *fields;
  const bool knows_it = secret == secret_in_inputs;
  if (knows_it) secret = taken(x509::from_hex(cluster.token.secret));
  auto key = check_signing_request(request);
  const auto made = cluster.head->enrol(secret, request);
  COLLM_ASSERT(made ? knows_it && key : !made.failure().message.empty());
  if (!made) return;
  check_certificate_for(key->get(), *made);
  COLLM_ASSERT(!cluster.head->enrol(secret, request));  // it was used
  cluster.issue();
}

void check_reply(std::span<const std::byte> bytes) {
  auto message = msg<schema::Enrolled>::from_bytes(bytes);
  if (!message) return COLLM_ASSERT(!message.failure().message.empty());
  auto& cluster = the_cluster();
  const auto believed = guard([&] {
    auto view = message->read();
    if (!view->isMember()) return false;
    const auto ours = check_member(cluster.token, view->getMember(), cluster.key.get());
    COLLM_ASSERT(ours || !ours.failure().message.empty());
    return static_cast<bool>(ours);
  });
  if (!believed) return COLLM_ASSERT(!believed.failure().message.empty());
  if (!*believed) return;
  auto view = message->read();
  const auto own =
      taken(x509::certificate_from_pem(view->getMember().getCertificate().cStr(), "the answer"));
  COLLM_ASSERT(x509::belongs_to(own.get(), cluster.key.get()));
}

void check_token(std::string_view text) {
  const auto token = parse_token(text);
  if (!token) return COLLM_ASSERT(token.failure().code == errc::bad_request);
  COLLM_ASSERT(to_string(*token) == text && is_plain_name(token->node));
}

}  // namespace

joining::joining()
    : folder(std::filesystem::temp_directory_path() /
             ("collm-enrolment-fuzz-" + std::to_string(::getpid()))) {
  COLLM_ASSERT(ensure_certificates(folder, "demo", {}));
  head = taken(authority::open(folder, {{"edge-c", {"yard", true}}}, [] { return a_time; }));
  key = taken(x509::make_key());
  issue();
}

joining::~joining() { std::filesystem::remove_all(folder); }

void joining::issue() { token = taken(head->issue("edge-c", "10.0.0.5:8098", 60)); }

joining& the_cluster() {
  static joining one;
  return one;
}

std::string good_reply() {
  auto& cluster = the_cluster();
  const auto secret = taken(x509::from_hex(cluster.token.secret));
  const auto made =
      taken(cluster.head->enrol(secret, taken(x509::make_request(cluster.key.get()))));
  cluster.issue();
  const auto reply = msg<schema::Enrolled>::build([&](schema::Enrolled::Builder to) {
    auto member = to.initMember();
    member.setCluster("demo");
    member.setNode("edge-c");
    member.setSite("yard");
    member.setAuthority(taken(cluster.head->certificate()));
    member.setCertificate(made.certificate);
    member.setLink("10.0.0.5:8099");
    member.setManifest("kind: Cluster\n");
  });
  const auto bytes = reply.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace collm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace collm::fuzz;
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (static_cast<enrolment_part>(data[0] % 4)) {
    case enrolment_part::request:
      check_request(std::as_bytes(std::span(rest)));
      break;
    case enrolment_part::signing_request:
      (void)check_signing_request(rest);
      break;
    case enrolment_part::reply:
      check_reply(std::as_bytes(std::span(rest)));
      break;
    case enrolment_part::token:
      check_token(rest);
  }
  return 0;
}
