// Any bytes on a connection of a gateway with keys, every route and a site's store: it answers in
// HTTP or closes, none of it is an admin act, and it serves on.
#include <cstdint>
#include <string_view>

#include "messages/assert.hpp"
#include "tests/support/http_fixture.hpp"

namespace {

using namespace collm;
using namespace collm::gateway;

struct target {
  fake::site_double store;
  fake::federation_double training;
  fake::port runtime;
  std::unique_ptr<http_server> server;

  target() {
    runtime.store = &store;
    runtime.training = &training;
    runtime.answer_all();
    http_options options;
    options.seed = 7;
    options.bounds.request_bytes_max = 4096;
    options.bounds.header_bytes_max = 2048;
    options.tenants = {{"acme", sha256_hex("k"), "kitchen", true, 0, 0}};
    options.admin_key_sha256 = sha256_hex("root");
    auto made = http_server::start(options, runtime, fake::byte_encoder(options.bounds));
    COLLM_ASSERT(made);
    server = std::move(*made);
  }
  ~target() { server->stop(); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static target t;
  {
    fake::http_peer client(t.server->port());
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    client.send(bytes);
    client.stop_sending();
    // The answer to HEAD tells the length of a body that is not sent: only the requests say where
    // the next answer begins.
    const int answers_max = bytes.find("HEAD ") == bytes.npos ? 64 : 1;
    for (int answers = 0; answers < answers_max; ++answers) {
      const auto r = client.read_head();
      if (r.status == 0) break;
      COLLM_ASSERT(r.status >= 100 && r.status < 600);
      client.skip_body(r);
    }
  }
  COLLM_ASSERT(t.runtime.drained == "-" && !t.runtime.shut_down);
  fake::http_peer next(t.server->port());
  COLLM_ASSERT(next.ask("GET", "/health").status == 200);
  return 0;
}
