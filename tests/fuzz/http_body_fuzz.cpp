// Bytes of an HTTP body to a request: whatever comes, it is parsed or refused with a 400, and what
// is parsed keeps the limits and builds one well-formed message.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateway/completion_request.hpp"
#include "messages/assert.hpp"

using namespace collm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto kind =
      data[0] % 2 == 0 ? gateway::completion_kind::chat : gateway::completion_kind::text;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const limits bounds;
  const auto parsed = gateway::parse_completion(body, kind, bounds);
  if (const auto* refused = std::get_if<gateway::api_error>(&parsed)) {
    COLLM_ASSERT(refused->condition.status == 400 && !refused->message.empty());
    COLLM_ASSERT(!gateway::error_json(*refused).empty());
    return 0;
  }
  const auto& request = std::get<gateway::completion_request>(parsed);
  COLLM_ASSERT(request.choices >= 1 && request.choices <= bounds.choices_max);
  COLLM_ASSERT(request.stops.size() <= bounds.stop_strings_max);
  COLLM_ASSERT(request.temperature >= 0 && request.temperature <= 2 && request.top_p > 0);
  COLLM_ASSERT(request.logprobs >= -1 &&
               request.logprobs <= static_cast<int>(bounds.top_logprobs_max));
  const auto message = gateway::build_request(request, {{1, 2}, 3}, {});
  COLLM_ASSERT(msg<schema::Request>::from_bytes(message.bytes()));
  return 0;
}
