// Any bytes as a manifest: a value that keeps its bounds, or problems that say where and what;
// never both, never neither.
#include <cstdint>
#include <string_view>

#include "deploy/manifest.hpp"
#include "messages/assert.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace collm::deploy;
  const auto check = parse_manifest({reinterpret_cast<const char*>(data), size});
  COLLM_ASSERT(check.value.has_value() == check.problems.empty());
  for (const auto& p : check.problems)
    COLLM_ASSERT(!p.message.empty() && !to_string(p, "c.yaml").empty());
  if (!check.value) return 0;
  const auto& m = *check.value;
  COLLM_ASSERT(!m.name.empty() && !m.nodes.empty() && m.nodes.size() <= 64);
  for (const auto& n : m.nodes) COLLM_ASSERT(n.replicas >= 1 && n.threads >= 1 && n.http.port > 0);
  for (const auto& t : m.tenants) COLLM_ASSERT(t.key_sha256.size() == 64);
  COLLM_ASSERT(m.bounds.connections_max >= 1 && m.bounds.request_bytes_max >= 1024);
  return 0;
}
